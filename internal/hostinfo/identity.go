package hostinfo

import (
	"io/fs"
	"net/netip"
	"slices"
	"strings"
)

// text reads a small file without the white space around it; empty if it cannot be read.
func (h Host) text(name string) string {
	data, err := fs.ReadFile(h.FS, rel(name))
	if err != nil {
		return ""
	}
	return strings.Trim(string(data), " \t\r\n\x00")
}

// Hostname is the machine's name as its programs see it; empty if it has none ("(none)" is the kernel's word for that).
func (h Host) Hostname() string {
	name := h.text("/proc/sys/kernel/hostname")
	if name == "(none)" {
		return ""
	}
	return name
}

// MachineID is what /etc/machine-id holds (machine-id(5)): 32 hexadecimal digits, or "uninitialized" in an image that has
// not been booted; empty if there is none.
func (h Host) MachineID() string { return h.text("/etc/machine-id") }

// Model is what the firmware says that the machine is, on boards that have a device tree: "Raspberry Pi 4 Model B Rev 1.4".
func (h Host) Model() string { return h.text("/proc/device-tree/model") }

// CommandLine lists the arguments that the kernel was started with.
func (h Host) CommandLine() []string { return strings.Fields(h.text("/proc/cmdline")) }

// HostsNames maps the names in /etc/hosts, in lower case, to their addresses (hosts(5)).
func (h Host) HostsNames() map[string][]netip.Addr {
	names := map[string][]netip.Addr{}
	for line := range strings.Lines(h.text("/etc/hosts")) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		address, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(name)
			names[name] = append(names[name], address)
		}
	}
	return names
}

// Nameservers lists the resolvers of a resolv.conf(5) that pods can reach, too: none on loopback, which
// would be the pod's own.
func Nameservers(conf string) []string {
	var list []string
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && !a.IsLoopback() && !a.IsUnspecified() {
			list = append(list, fields[1])
		}
	}
	return list
}

// Nameservers are those of the first of the [ResolverFiles] that has one.
func (h Host) Nameservers() []string {
	for _, file := range ResolverFiles {
		if list := Nameservers(h.text(file)); len(list) > 0 {
			return list
		}
	}
	return nil
}

// ResolverFiles are where a machine's resolvers are looked for, the first that has one counts: systemd-resolved puts itself into
// the former, and those that it asks into the latter.
var ResolverFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// AppArmor says whether the kernel confines programs by AppArmor's profiles.
func (h Host) AppArmor() bool { return h.text("/sys/module/apparmor/parameters/enabled") == "Y" }

// enabledFolders are where service managers keep what they start at boot.
var enabledFolders = []string{
	"/etc/systemd/system/multi-user.target.wants", "/etc/systemd/system/default.target.wants", "/etc/systemd/system/graphical.target.wants",
	"/etc/runlevels/default",
}

// StartsAtBoot lists those of the named services that start at boot.
func (h Host) StartsAtBoot(services ...string) []string {
	return slices.DeleteFunc(slices.Clone(services), func(service string) bool {
		return !slices.ContainsFunc(enabledFolders, func(folder string) bool {
			return h.linked(folder+"/"+service+".service") || h.linked(folder+"/"+service)
		})
	})
}

// linked says whether there is something at name, be it a link that leads nowhere.
func (h Host) linked(name string) bool {
	_, err := fs.Lstat(h.FS, rel(name))
	return err == nil
}
