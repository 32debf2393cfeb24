// Package preflighttest describes machines for the tests of what judges them.
package preflighttest

import (
	"net/netip"
	"strings"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/hostinfo"
)

// Machine is a machine that has nothing wrong with it.
func Machine() preflight.Facts {
	volume := preflight.Volume{Parent: "/", Type: "ext4", Disk: hostinfo.Disk{FreeBytes: 100 << 30, TotalBytes: 200 << 30, FreeInodes: 1e9, TotalInodes: 2e9}}
	return preflight.Facts{
		Root: true, OS: "linux", Arch: strings.TrimPrefix(preflight.ThisPlatform(), "linux/"),
		Now:    time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
		Memory: hostinfo.Memory{Total: 8 << 30, Available: 7 << 30},
		CPU:    hostinfo.CPU{Count: 2, Features: strings.Fields("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3")},
		Limits: hostinfo.Limits{Files: 1e6, OpenFiles: 65536, Instances: 128, Watches: 1e5, ProcessIDs: 4 << 20},

		KernelRelease: "6.1.0-9-amd64",
		Cgroups:       hostinfo.Cgroups{Unified: "/cg", Controllers: map[string]string{"cpu": "/cg", "memory": "/cg", "pids": "/cg"}},
		Data:          volume, Images: volume, Spool: volume, Logs: volume, Config: volume, Command: volume,
		Hostname: "node-1", MachineID: "0123456789abcdef0123456789abcdef",
		HostsNames: map[string][]netip.Addr{"localhost": {netip.MustParseAddr("127.0.0.1")}},
		Addresses:  []netip.Addr{netip.MustParseAddr("10.0.0.5")},
		HasBlob:    func(string) bool { return false },
	}
}
