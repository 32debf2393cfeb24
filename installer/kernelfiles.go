package installer

import (
	"bytes"
	"fmt"
	"path/filepath"

	"airgap/node/config"
	"airgap/node/kernel"
)

// kernelModules are those that nothing makes the kernel load by itself in time: overlay for containerd's
// look at its snapshotter, the other for the packets between pods of one bridge.
var kernelModules = []string{"overlay", kernel.BridgeFilter}

// kernelFiles make the machine's boot load the node's modules and set its kernel settings, and keep
// whoever applies all settings again from undoing them. The node sees to both by itself when it starts.
//
// The names sort behind 99-sysctl.conf, which is /etc/sysctl.conf: the last one wins. Protected settings
// are left to the node: with --protect-kernel-defaults they are the owner's.
func kernelFiles(etc string, p config.Paths) []placement {
	var modules, settings bytes.Buffer
	fmt.Fprintf(&modules, "# Kernel modules of the airgap node in %s.\n", p.DataDir)
	for _, name := range kernelModules {
		fmt.Fprintln(&modules, name)
	}
	fmt.Fprintf(&settings, "# Kernel settings of the airgap node in %s.\n", p.DataDir)
	for _, s := range kernel.Settings {
		if s.Protected {
			continue
		}
		ignore := ""
		if s.Optional {
			ignore = "-" // a kernel without it is fine: sysctl.d(5)
		}
		fmt.Fprintf(&settings, "# %s\n%s%s = %s\n", s.Why, ignore, s.Name, s.Value)
	}
	return []placement{
		{target: modulesFile(etc, p), mode: 0o644, data: modules.Bytes()},
		{target: sysctlFile(etc, p), mode: 0o644, data: settings.Bytes()},
	}
}

func modulesFile(etc string, p config.Paths) string {
	return filepath.Join(etc, "modules-load.d", p.UnitName()+".conf")
}

func sysctlFile(etc string, p config.Paths) string {
	return filepath.Join(etc, "sysctl.d", p.UnitName()+".conf")
}
