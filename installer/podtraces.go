package installer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"airgap/installer/preflight"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// Folders outside the node's own, that upstream's code writes to whatever it is told.
const (
	cniCache       = "/var/lib/cni"                    // libcni's cache (libcni/api.go)
	shimSockets    = "/run/containerd/s"               // containerd's shims (pkg/shim/util_unix.go)
	runcState      = "/run/containerd/runc/k8s.io"     // runc's, below the shim's default root
	containerLinks = "/var/log/containers"             // the kubelet's links to the logs of containers
	runNamespaces  = "/run/netns"                      // network namespaces of pods, unless they are in the run folder
	devicePlugins  = "/var/lib/kubelet/device-plugins" // the kubelet's socket for device plugins (pkg/kubelet/cm/devicemanager)
	podContainers  = "io.containerd.runtime.v2.task/k8s.io"
)

// podTraces is what pods of the node have left outside its folders, found while its folders still tell.
type podTraces struct {
	sandboxes  []string // IDs of containers, which name files of libcni's cache
	sockets    []string // of shims
	namespaces []string // network namespaces, "net:[4026532300]"
}

// findPodTraces collects the traces. It must come before the node's folders are removed.
func findPodTraces(h hostinfo.Host, p config.Paths) (podTraces, error) {
	var t podTraces
	tasks := filepath.Join(p.ContainerdState(), podContainers)
	entries, err := os.ReadDir(tasks)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	for _, entry := range entries {
		t.sandboxes = append(t.sandboxes, entry.Name())
		if socket := shimSocket(filepath.Join(tasks, entry.Name())); socket != "" && !slices.Contains(t.sockets, socket) {
			t.sockets = append(t.sockets, socket)
		}
	}
	// A task's folder goes with its shim; runc's own state may outlive both, and names the task's folder.
	states, err := filepath.Glob(filepath.Join(runcState, "*", "state.json"))
	if err != nil {
		return t, err
	}
	for _, path := range states {
		id := filepath.Base(filepath.Dir(path))
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(p.Run()+"/")) && !slices.Contains(t.sandboxes, id) {
			t.sandboxes = append(t.sandboxes, id)
		}
	}
	u := &removal{paths: p, host: h}
	pids, err := u.processes()
	if err != nil {
		return t, err
	}
	own, err := h.NetworkNamespace(os.Getpid())
	if err != nil {
		return t, err
	}
	for _, pid := range pids {
		if ns, err := h.NetworkNamespace(pid); err == nil && ns != own && !slices.Contains(t.namespaces, ns) {
			t.namespaces = append(t.namespaces, ns)
		}
	}
	return t, nil
}

// shimSocket returns the path of the socket of the shim that serves a container.
func shimSocket(bundle string) string {
	data, err := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
	if err != nil {
		return ""
	}
	var parameters struct {
		Address string `json:"address"`
	}
	if json.Unmarshal(data, &parameters) != nil {
		return ""
	}
	path := strings.TrimPrefix(parameters.Address, "unix://")
	if filepath.Dir(path) != shimSockets {
		return ""
	}
	return path
}

// remove removes the traces.
func (t podTraces) remove(u *removal) error {
	var errs []error
	for _, socket := range t.sockets {
		errs = append(errs, removeIfThere(socket))
	}
	for _, id := range t.sandboxes {
		errs = append(errs, os.RemoveAll(filepath.Join(runcState, id)))
	}
	errs = append(errs, t.removeCNICache(u.paths), u.removeLogs())
	others, err := preflight.Kubelets(u.host)
	if errs = append(errs, err); len(others) == 0 {
		errs = append(errs, removeIfThere(filepath.Join(devicePlugins, "kubelet.sock")))
	}
	for _, folder := range []string{
		shimSockets, runcState, filepath.Dir(runcState), filepath.Dir(shimSockets), runNamespaces,
		devicePlugins, filepath.Dir(devicePlugins),
	} {
		_ = os.Remove(folder) // if nothing else is in it
	}
	return errors.Join(errs...)
}

// removeCNICache removes what libcni keeps of the node's pods. The pods' network is named by the
// node's ID, and its configuration names the data folder; loopback is known by the container.
func (t podTraces) removeCNICache(p config.Paths) error {
	folder := filepath.Join(cniCache, "results")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(p.ID) + "-[0-9a-f]{64}-") // <network>-<container>-<interface>
	var errs []error
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		if ours.MatchString(entry.Name()) || t.isOurs(path, p) {
			errs = append(errs, removeIfThere(path))
		}
	}
	for _, dir := range []string{folder, filepath.Join(cniCache, "cache"), cniCache} {
		_ = os.Remove(dir) // if nothing else is in it
	}
	return errors.Join(errs...)
}

func (t podTraces) isOurs(path string, p config.Paths) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var cached struct {
		ContainerID string `json:"containerId"`
		Config      []byte `json:"config"` // base64
	}
	if json.Unmarshal(data, &cached) != nil {
		return false
	}
	return slices.Contains(t.sandboxes, cached.ContainerID) || bytes.Contains(cached.Config, []byte(`"`+p.DataDir+`/`))
}

// removeLogs removes the logs of the node's pods, where they are not below its own folder, and the
// links to them.
func (u *removal) removeLogs() error {
	logs := u.paths.PodLogs()
	var errs []error
	if !hostinfo.Within(logs, u.paths.DataDir) {
		others, err := preflight.Kubelets(u.host)
		if err != nil {
			return err
		}
		if len(others) == 0 { // else they may be another node's
			errs = append(errs, os.RemoveAll(logs))
		}
	}
	entries, err := os.ReadDir(containerLinks)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errs...)
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(containerLinks, entry.Name())
		if to, err := os.Readlink(path); err == nil && (hostinfo.Within(to, logs) || hostinfo.Within(to, u.paths.DataDir)) {
			errs = append(errs, removeIfThere(path))
		}
	}
	_ = os.Remove(containerLinks) // if nothing else is in it
	return errors.Join(errs...)
}
