package hostinfo

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// KernelRelease is that of the running kernel, as uname -r has it.
func (h Host) KernelRelease() string { return h.text("/proc/sys/kernel/osrelease") }

// KernelVersion reads the first two numbers of a release, "6.1.0-9-amd64".
func KernelVersion(release string) (major, minor int, err error) {
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return 0, 0, fmt.Errorf("kernel release %q: want MAJOR.MINOR", release)
	}
	return major, minor, nil
}

// KernelConfig is what a kernel was built with: "CONFIG_KEYS" to "y" or "m". What was left out is not in it.
type KernelConfig map[string]string

// Lacks says that the kernel was certainly built without an option.
func (c KernelConfig) Lacks(option string) bool { return c != nil && c[option] == "" }

// KernelConfig reads the configuration of the running kernel from where kernels and distributions keep it; nil if none is
// to be found.
func (h Host) KernelConfig() (KernelConfig, error) {
	release := h.KernelRelease()
	for _, name := range []string{"/proc/config.gz", "/boot/config-" + release, path.Join("/lib/modules", release, "config")} {
		file, err := h.FS.Open(rel(name))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		config, err := readKernelConfig(file, path.Ext(name) == ".gz")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return config, nil
	}
	return nil, nil
}

func readKernelConfig(r io.Reader, zipped bool) (KernelConfig, error) {
	if zipped {
		unzipped, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = unzipped
	}
	config := KernelConfig{}
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		if option, value, found := strings.Cut(scanner.Text(), "="); found && strings.HasPrefix(option, "CONFIG_") {
			config[option] = value
		}
	}
	return config, scanner.Err()
}

// FileSystem says whether the kernel has a kind of file system built in or loaded (proc_filesystems(5)).
func (h Host) FileSystem(kind string) bool {
	found := false
	_ = h.lines("/proc/filesystems", func(f []string) error {
		found = found || len(f) > 0 && f[len(f)-1] == kind
		return nil
	})
	return found
}

// ModulesGone says that the modules of the running kernel are not on the disk, but those of another are: it
// was updated, and the machine not started again since.
func (h Host) ModulesGone() bool {
	entries, err := fs.ReadDir(h.FS, "lib/modules")
	return err == nil && len(entries) > 0 && !h.Exists("/lib/modules/"+h.KernelRelease())
}
