package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"airgap/bundle"
	"airgap/internal/helmchart"
	"airgap/internal/hostinfo"
)

// annotationBundle, on a HelmChart, is the digest of the bundle manifest that it came with. It tells a
// release that is Ready from one that was.
const annotationBundle = "airgap.internal/bundle"

// allowedTargets are the folders that a bundle's files may be put into.
var allowedTargets = []string{"/etc", "/opt", "/srv", "/usr/local", "/var/lib", "/var/opt"}

// HostFolders are the folders of the host, beside the data folder and /run, that an install writes to, or its node.
func HostFolders() []string { return append(slices.Clone(allowedTargets), "/var/log") }

// placeContent puts host files where they say, and charts and manifests into the folder that the
// node's deployer follows. What an earlier version of the bundle had there and this one has not
// is removed, which makes the deployer remove it from the cluster.
func (r *run) placeContent(context.Context) (string, error) {
	m := r.manifest
	for _, f := range m.Files {
		if err := r.placeHostFile(f); err != nil {
			return "", err
		}
	}
	folder := filepath.Join(r.paths.Manifests(), m.Name)
	if r.agent { // the servers apply what is for the cluster
		r.report.Files = len(m.Files)
		return fmt.Sprintf("%d files", len(m.Files)), r.placeImageList()
	}
	var names []string
	for _, c := range m.Charts {
		data, err := r.helmChart(c)
		if err != nil {
			return "", fmt.Errorf("chart %s: %w", c.Release, err)
		}
		name := "chart-" + c.Release + ".yaml"
		names = append(names, name)
		if err := r.place(placement{target: filepath.Join(folder, name), mode: 0o600, data: data}); err != nil {
			return "", err
		}
	}
	for _, o := range m.Manifests {
		data, err := r.staged(o.Digest)
		if err != nil {
			return "", fmt.Errorf("manifest %s: %w", o.Name, err)
		}
		name := "manifest-" + o.Name + ".yaml"
		names = append(names, name)
		if err := r.place(placement{target: filepath.Join(folder, name), mode: 0o600, data: data}); err != nil {
			return "", err
		}
	}
	if err := r.placeImageList(); err != nil {
		return "", err
	}
	if err := r.removeOthers(folder, names); err != nil {
		return "", err
	}
	r.report.Charts, r.report.Manifests, r.report.Files = len(m.Charts), len(m.Manifests), len(m.Files)
	return fmt.Sprintf("%d files, %d charts, %d manifests", len(m.Files), len(m.Charts), len(m.Manifests)), nil
}

// helmChart is the object that makes the node's Helm controller install c.
func (r *run) helmChart(c bundle.Chart) ([]byte, error) {
	chart, err := r.staged(c.Digest)
	if err != nil {
		return nil, err
	}
	var values []byte
	if c.Values != "" {
		if values, err = r.staged(c.Values); err != nil {
			return nil, fmt.Errorf("values: %w", err)
		}
	}
	return helmchart.Manifest(helmchart.Options{
		Name:            c.Release,
		TargetNamespace: c.Namespace,
		CreateNamespace: true,
		ChartContent:    chart,
		Values:          values,
		Annotations:     map[string]string{annotationBundle: r.digest},
	})
}

// placeImageList writes down, one a line, the images that must never be collected: the node pins them
// again at each start, since containerd forgets a pin when an image is tagged anew.
func (r *run) placeImageList() error {
	var list strings.Builder
	for _, reference := range r.references() {
		list.WriteString(reference + "\n")
	}
	return r.place(placement{
		target: filepath.Join(r.paths.PinnedImages(), r.manifest.Name+".txt"),
		mode:   0o644,
		data:   []byte(list.String()),
	})
}

// placeHostFile puts one file of the bundle on the host.
func (r *run) placeHostFile(f bundle.File) error {
	root, err := r.targetRoot(f.Target)
	if err != nil {
		return err
	}
	data, err := r.staged(f.Digest)
	if err != nil {
		return fmt.Errorf("file %s: %w", f.Target, err)
	}
	mode, err := strconv.ParseUint(f.Mode, 8, 9)
	if err != nil {
		return fmt.Errorf("file %s: mode %q: %w", f.Target, f.Mode, err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	return r.place(placement{root: root, target: f.Target, mode: fs.FileMode(mode), data: data})
}

// targetRoot returns the allowed folder that a bundle's file goes into. Symbolic links do not lead
// out of it: [os.Root] sees to that.
func (r *run) targetRoot(target string) (string, error) {
	if hostinfo.Within(target, r.paths.DataDir) {
		return "", fmt.Errorf("%w: the bundle's file %s would go into the node's own folder", ErrRefused, target)
	}
	for _, root := range r.targets {
		if target != root && hostinfo.Within(target, root) {
			return root, nil
		}
	}
	return "", fmt.Errorf("%w: the bundle's file %s is not in a folder that bundles may write to: %s", ErrRefused, target, strings.Join(r.targets, ", "))
}

// removeOthers removes from a bundle's folder the manifests that are not among names.
func (r *run) removeOthers(folder string, names []string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || filepath.Ext(entry.Name()) != ".yaml" || slices.Contains(names, entry.Name()) {
			continue
		}
		if err := r.displace(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// displace removes a file so that a roll-back brings it back.
func (r *run) displace(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	undo := placed{Target: path}
	if undo.Backup, err = backUp(root, filepath.Base(path), 0o600, r.backups()); err != nil {
		return err
	}
	r.unfinish.placed = append(r.unfinish.placed, undo)
	if err := r.journal.Append(recordPlaced, undo); err != nil {
		return err
	}
	return root.Remove(filepath.Base(path))
}
