package hostinfo

import (
	"slices"
	"testing"
)

func TestMemory(t *testing.T) {
	h := machine(map[string]string{"proc/meminfo": "MemTotal:        4008 kB\nMemFree:  1 kB\nMemAvailable:    2004 kB\nSwapTotal:   1024 kB\nHugePages_Total:       0\n"})
	if m, err := h.Memory(); err != nil || m != (Memory{Total: 4008 << 10, Available: 2004 << 10, Swap: 1024 << 10}) {
		t.Errorf("memory %+v, %v", m, err)
	}
	for _, nonsense := range []string{"", "MemTotal: x kB\n"} {
		if _, err := machine(map[string]string{"proc/meminfo": nonsense}).Memory(); err == nil {
			t.Errorf("%q accepted", nonsense)
		}
	}
}

func TestCPU(t *testing.T) {
	const old = "flags\t\t: fpu cx16 lahf_lm pni ssse3\n"
	h := machine(map[string]string{"proc/cpuinfo": "processor\t: 0\nmodel name\t: Old\n" + old + "\nprocessor\t: 1\n" + old})
	c, err := h.CPU()
	if err != nil || c.Count != 2 || !slices.Equal(c.MissingV2(), []string{"popcnt", "sse4_1", "sse4_2"}) {
		t.Errorf("processors %+v, missing %q, %v", c, c.MissingV2(), err)
	}
	pi := machine(map[string]string{"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nHardware\t: BCM2835\n"})
	if c, err := pi.CPU(); err != nil || c.Count != 1 || !slices.Contains(c.Features, "asimd") {
		t.Errorf("processor %+v, %v", c, err)
	}
	if c, err := This().CPU(); err != nil || len(c.Features) == 0 {
		t.Errorf("this machine's processor %+v, %v", c, err)
	}
}

func TestLimits(t *testing.T) {
	h := machine(map[string]string{
		"proc/sys/fs/file-max": "9223372036854775807\n", "proc/sys/kernel/pid_max": "32768\n", "proc/sys/kernel/random/entropy_avail": "256\n",
		"proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n",
	})
	l, err := h.Limits() // without inotify
	if err != nil || l != (Limits{Files: 9223372036854775807, OpenFiles: 524288, ProcessIDs: 32768, EntropyBytes: 32}) {
		t.Errorf("limits %+v, %v", l, err)
	}
	if l, err := This().Limits(); err != nil || l.Files == 0 || l.OpenFiles == 0 || l.ProcessIDs == 0 {
		t.Errorf("this machine's limits %+v, %v", l, err)
	}
}
