package support

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// items is everything an archive has, in the order of how soon it helps.
func (o *Options) items() []item {
	p := o.paths
	unit := p.UnitName()
	dir := []string{"--data-dir", p.DataDir}
	verb := func(args ...string) func(context.Context, *archive, string) error {
		return o.airgap(append(args, dir...)...)
	}
	kubectl := func(args ...string) func(context.Context, *archive, string) error {
		return o.airgap(append(append([]string{"kubectl"}, args...), "--request-timeout", apiTimeout)...)
	}
	nft := filepath.Join(p.Current(), "bin", "nft")
	if _, err := os.Stat(nft); err != nil {
		nft = "nft"
	}
	journal := func(args ...string) func(context.Context, *archive, string) error {
		return o.command(append([]string{"journalctl", "--no-pager", "--output", "short-iso"}, args...)...)
	}
	return []item{
		{"status.txt", "airgap status: the node and its parts, and what is wrong", verb("status")},
		{"status.json", "the same with all details", verb("status", "--output", "json")},
		{"versions.json", "what this executable is made of", o.airgap("version", "--output", "json")},
		{"preflight.json", "airgap check: what the machine lacks for a node (ports that the node itself has are no fault)", verb("check", "--output", "json")},
		{"certificates.txt", "each certificate and its end", verb("certificate", "check")},
		{"datastore.txt", "kind and size of the datastore", verb("datastore", "status")},
		{"snapshots.txt", "snapshots of the datastore", verb("snapshot", "ls")},

		{"config/effective.yaml", "every setting, and where its value comes from", verb("config", "show")},
		{"config/mistakes.txt", "airgap config check", verb("config", "check")},
		{"config/files/", "the configuration files as they are, without secrets", o.configFiles},
		{"config/generated/", "what the node made of it for containerd and the kubelet", o.files(p.AgentEtc(), "containerd.toml", "kubelet.yaml", "*.conflist")},

		{"install/", "the installer's journal and reports, and what an unfinished upgrade noted", o.files(p.Install(), "journal", "*.json", "reports/*")},
		{"install/files.txt", "the node's files: mode, size, time, name; no contents", text(o.listing)},
		{"install/units/", "the service as it was installed", o.files("/etc", "systemd/system/"+unit+".service", "systemd/system/"+unit+".service.d/*", "init.d/"+unit, "sysctl.d/"+unit+".conf", "modules-load.d/"+unit+".conf")},

		{"logs/service.txt", "the node's log, from the journal (systemd)", journal("--unit", unit, "--lines", "30000")},
		{"logs/node/", "the node's log where no systemd keeps it (--init openrc, none)", o.files(p.DataDir, "airgap.log.1", "airgap.log")},
		{"logs/kernel.txt", "the kernel's messages since the boot", text(kernelLog)},
		{"logs/warnings.txt", "warnings of all services since the boot", journal("--boot", "--priority", "warning", "--lines", "5000")},
		{"logs/boot-before.txt", "the last lines before the last boot: how the machine went down", journal("--boot=-1", "--lines", "1500")},
		{"logs/boots.txt", "the boots that the journal knows", journal("--list-boots")},
		{"logs/pods/", "containers' logs: namespace_pod_uid/container/restarts.log, the newest first", o.podLogs},

		{"cluster/nodes.txt", "the nodes", kubectl("get", "nodes", "--output", "wide")},
		{"cluster/nodes-described.txt", "the nodes with conditions, capacity and events", kubectl("describe", "nodes")},
		{"cluster/pods.txt", "the pods of all namespaces", kubectl("get", "pods", "--all-namespaces", "--output", "wide")},
		{"cluster/events.txt", "events, the newest last", kubectl("get", "events", "--all-namespaces", "--sort-by", ".metadata.creationTimestamp")},
		{"cluster/workloads.txt", "workloads, services, ingresses", kubectl("get", "deployments,daemonsets,statefulsets,jobs,services,ingresses", "--all-namespaces", "--output", "wide")},
		{"cluster/volumes.txt", "volumes and claims", kubectl("get", "pv,pvc", "--all-namespaces", "--output", "wide")},
		{"cluster/charts.txt", "charts that the Helm controller keeps installed", kubectl("get", "helmcharts", "--all-namespaces", "--output", "wide")},
		{"cluster/health.txt", "the API server's own checks", kubectl("get", "--raw", "/readyz?verbose")},
		{"runtime/containers.txt", "containers that containerd knows, ended ones too", o.airgap("crictl", "ps", "--all")},
		{"runtime/pods.txt", "pods that containerd knows", o.airgap("crictl", "pods")},
		{"runtime/images.txt", "images on this machine", o.airgap("crictl", "images", "--digests")},

		{"machine/system.txt", "distribution, kernel, uptime, clock, memory, processors, pressure", text(o.system)},
		{"machine/disks.txt", "file systems and how full they are, partitions", text(o.disks)},
		{"machine/mounts.txt", "mounts (/proc/self/mountinfo)", copyOf("/proc/self/mountinfo")},
		{"machine/modules.txt", "kernel modules", copyOf("/proc/modules")},
		{"machine/sysctl.txt", "kernel settings that a node needs", text(kernelSettings)},
		{"machine/processes.txt", "processes; arguments of the node's own alone", text(o.processes)},
		{"machine/cgroups.txt", "the node's control groups: memory, processes, events", text(o.controlGroups)},
		{"machine/units.txt", "services that failed (systemd)", o.command("systemctl", "--no-pager", "--failed")},
		{"machine/unit.txt", "the state of the node's service (systemd)", o.command("systemctl", "show", unit+".service")},

		{"network/addresses.txt", "interfaces and addresses", text(addresses)},
		{"network/routes.txt", "routes of all tables, rules", o.command("ip", "route", "show", "table", "all")},
		{"network/rules.txt", "which table of routes is asked when", o.command("ip", "rule")},
		{"network/routes-kernel.txt", "routes as the kernel has them (hexadecimal), for a machine without ip", copyOf("/proc/net/route", "/proc/net/ipv6_route")},
		{"network/neighbours.txt", "neighbours on the LAN", copyOf("/proc/net/arp")},
		{"network/links.txt", "details of interfaces, counters of errors", o.command("ip", "-details", "-statistics", "link")},
		{"network/listeners.txt", "TCP ports that are listened on", text(o.listeners)},
		{"network/nftables.txt", "the firewall's and the services' rules", o.command(nft, "list", "ruleset")},
		{"network/counters.txt", "the kernel's counters", copyOf("/proc/net/dev", "/proc/net/snmp", "/proc/net/sockstat")},
		{"network/names.txt", "hosts and resolvers", copyOf("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf")},
	}
}

// copyOf is a few small files of the machine, one after the other.
func copyOf(paths ...string) func(context.Context, *archive, string) error {
	return text(func(w io.Writer) error {
		for _, path := range paths {
			if err := show(w, path); err != nil {
				return err
			}
		}
		return nil
	})
}

// files are the files in a folder that match the patterns, each bounded to its end.
func (o *Options) files(folder string, patterns ...string) func(context.Context, *archive, string) error {
	return func(_ context.Context, a *archive, name string) error {
		for _, pattern := range patterns {
			matches, err := filepath.Glob(filepath.Join(folder, pattern))
			if err != nil {
				return err
			}
			for _, path := range matches {
				if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
					continue
				}
				relative, err := filepath.Rel(folder, path)
				if err != nil {
					return err
				}
				if err := addFile(a, name+relative, path, maxFileBytes); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// configFiles are the files that the node is configured by.
func (o *Options) configFiles(_ context.Context, a *archive, name string) error {
	files, err := filepath.Glob(o.paths.ConfigFile() + ".d/*.yaml")
	if err != nil {
		return err
	}
	for _, path := range append(files, o.paths.ConfigFile(), o.paths.PrivateRegistry()) {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		relative := strings.TrimPrefix(path, filepath.Dir(o.paths.ConfigFile())+"/")
		if err := addFile(a, name+relative, path, maxFileBytes); err != nil {
			return err
		}
	}
	return nil
}

// Bounds of containers' logs.
const (
	maxPodLogBytes  = 512 << 10
	maxPodLogsBytes = 32 << 20
)

// podLogs are the containers' logs, the newest first, each to its end, all together bounded.
func (o *Options) podLogs(_ context.Context, a *archive, name string) error {
	type log struct {
		path string
		info fs.FileInfo
	}
	var logs []log
	err := filepath.WalkDir(o.paths.PodLogs(), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".log") {
			if info, err := entry.Info(); err == nil {
				logs = append(logs, log{path, info})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(logs, func(a, b log) int { return b.info.ModTime().Compare(a.info.ModTime()) })
	left := int64(maxPodLogsBytes)
	for i, l := range logs {
		if left <= 0 {
			a.note("%s: %d older logs are left out", name, len(logs)-i)
			break
		}
		relative, err := filepath.Rel(o.paths.PodLogs(), l.path)
		if err != nil {
			return err
		}
		if err := addFile(a, name+relative, l.path, maxPodLogBytes); err != nil {
			return err
		}
		left -= min(l.info.Size(), maxPodLogBytes)
	}
	return nil
}

// addFile adds the end of a file. What cannot be read is noted.
func addFile(a *archive, name, path string, limit int) error {
	f, err := os.Open(path)
	if err != nil {
		a.note("%s: %v", name, err)
		return nil
	}
	defer f.Close()
	out := &tail{max: limit}
	if info, err := f.Stat(); err == nil && info.Size() > int64(limit) {
		a.note("%s: the last %d of %d bytes", name, limit, info.Size())
		if _, err := f.Seek(-int64(limit), io.SeekEnd); err != nil {
			a.note("%s: %v", name, err)
		}
	}
	if _, err := io.Copy(out, io.LimitReader(f, int64(limit))); err != nil {
		a.note("%s: %v", name, err)
	}
	return a.add(name, out.bytes())
}
