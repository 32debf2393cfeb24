package hostinfo

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"testing"
)

func TestKernelConfig(t *testing.T) {
	const text = "# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_KEYS=y\nCONFIG_OVERLAY_FS=m\n# CONFIG_CFS_BANDWIDTH is not set\nCONFIG_LOCALVERSION=\"-a=b\"\n"
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	fmt.Fprint(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const release = "proc/sys/kernel/osrelease"
	for name, h := range map[string]Host{
		"in the kernel":        machine(map[string]string{release: "6.1.0\n", "proc/config.gz": zipped.String()}),
		"of the distribution":  machine(map[string]string{release: "6.1.0\n", "boot/config-6.1.0": text, "boot/config-6.0.0": ""}),
		"beside the modules":   machine(map[string]string{release: "6.1.0\n", "lib/modules/6.1.0/config": text}),
		"of this, not another": machine(map[string]string{release: "6.1.0\n", "boot/config-6.0.0": "CONFIG_CFS_BANDWIDTH=y\n", "lib/modules/6.1.0/config": text}),
	} {
		config, err := h.KernelConfig()
		if err != nil || config.Lacks("CONFIG_KEYS") || config.Lacks("CONFIG_OVERLAY_FS") || !config.Lacks("CONFIG_CFS_BANDWIDTH") || config["CONFIG_LOCALVERSION"] != `"-a=b"` {
			t.Errorf("%s: %v, %v", name, config, err)
		}
	}
	unknown, err := machine(map[string]string{release: "6.1.0\n"}).KernelConfig()
	if err != nil || unknown.Lacks("CONFIG_KEYS") {
		t.Errorf("where there is none: %v, %v", unknown, err)
	}
	if _, err := machine(map[string]string{"proc/config.gz": "no gzip"}).KernelConfig(); err == nil {
		t.Error("nonsense accepted")
	}
}

func TestKernelVersion(t *testing.T) {
	for release, want := range map[string]string{"5.10.0-28-amd64": "5.10", "6.18.44-fc": "6.18", "6.1": "6.1", "six": "0.0"} {
		major, minor, err := KernelVersion(release)
		if got := fmt.Sprintf("%d.%d", major, minor); got != want || (err != nil) != (want == "0.0") {
			t.Errorf("%s: %s, %v; want %s", release, got, err, want)
		}
	}
}

func TestFileSystemAndModules(t *testing.T) {
	h := machine(map[string]string{
		"proc/filesystems":                   "nodev\tsysfs\nnodev\tmqueue\n\text4\n",
		"proc/sys/kernel/osrelease":          "6.1.0-10\n",
		"lib/modules/6.1.0-9/modules.dep":    "",
		"lib/modules/6.1.0-9/kernel/some.ko": "",
	})
	if !h.FileSystem("mqueue") || !h.FileSystem("ext4") || h.FileSystem("nodev") || !h.ModulesGone() {
		t.Error("file systems or modules misread")
	}
	if machine(map[string]string{"proc/sys/kernel/osrelease": "6.1.0"}).ModulesGone() {
		t.Error("modules are gone that never were: the kernel has none")
	}
}

func TestRoutes(t *testing.T) {
	h := machine(map[string]string{"proc/self/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n" +
		"cni0\t00002A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"eth1\t00012B0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"})
	routes, err := h.Routes()
	if got := fmt.Sprint(routes); err != nil || got != "[{eth0 10.0.0.0/8} {eth1 10.43.1.0/24}]" {
		t.Errorf("routes %s, %v", got, err)
	}
}
