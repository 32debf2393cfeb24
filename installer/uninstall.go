package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/internal/hostinfo"
	"airgap/internal/journal"
	"airgap/node/config"
	"airgap/node/kernel"
)

// UninstallOptions is what an uninstall is told.
type UninstallOptions struct {
	DataDir  string // of the node; empty: the default
	Out      io.Writer
	Terminal bool
	Force    bool // an agent leaves its cluster without waiting for its pods to go elsewhere

	// Places on the host. Empty: the usual ones.
	EtcDir     string // /etc
	SystemdDir string // systemd/system in EtcDir
	BinDir     string // /usr/local/bin and /opt/bin

	leaveTimeout time.Duration // 0: leaveTimeout
}

// removal is one run of an uninstall.
type removal struct {
	UninstallOptions
	paths   config.Paths
	host    hostinfo.Host
	pods    podTraces
	console *console
}

// removalStep is one step of an uninstall.
type removalStep struct {
	name string
	do   func(*removal, context.Context) (detail string, err error)
}

// leaveStep comes before all others on an agent. When pods do not go, nothing is removed.
var leaveStep = removalStep{"leave", (*removal).leave}

// removalSteps is the uninstall, in order. A step that fails does not keep the others from
// being tried, but for the last: files go only when nothing uses them any more, and as long as they are
// there another uninstall knows that there is something to do.
var removalSteps = []removalStep{
	{"service", (*removal).stopServices},
	{"processes", (*removal).endAll},
	{"mounts", (*removal).unmountAll},
	{"network", (*removal).removeNetwork},
	{"cgroups", (*removal).removeCgroups},
	{"files", (*removal).removeFiles},
}

// Uninstall removes a node: its service, processes, mounts, interfaces, firewall tables,
// control groups and files. Nothing of it is left, or the error says what is; then it may be
// repeated. The error is [ErrNotInstalled] if there is nothing of a node with this data folder.
func Uninstall(ctx context.Context, opts UninstallOptions) error {
	u := &removal{UninstallOptions: opts, host: hostinfo.This()}
	if u.DataDir == "" {
		u.DataDir = config.DefaultDataDir
	}
	if !filepath.IsAbs(u.DataDir) || filepath.Clean(u.DataDir) == "/" {
		return fmt.Errorf("%w: --data-dir %q is no node's folder", ErrUsage, u.DataDir)
	}
	u.paths = config.PathsOf(u.DataDir)
	if !isInstalled(u.paths) { // and what looks like ours may be another cluster's
		return fmt.Errorf("%w: there is no node with the data folder %s", ErrNotInstalled, u.paths.DataDir)
	}
	if os.Geteuid() != 0 {
		return errors.New("not root: run it with sudo")
	}
	if err := checkNamespace(u.paths.DataDir); err != nil {
		return err
	}
	if u.Out == nil {
		u.Out = io.Discard
	}
	if u.EtcDir == "" {
		u.EtcDir = "/etc"
	}
	if u.SystemdDir == "" {
		u.SystemdDir = filepath.Join(u.EtcDir, "systemd", "system")
	}
	if u.leaveTimeout == 0 {
		u.leaveTimeout = leaveTimeout
	}
	steps := removalSteps
	if isAgent(u.paths) {
		steps = append([]removalStep{leaveStep}, steps...)
	}
	u.console = newConsole(u.Out, u.Terminal, len(steps))
	var err error
	if u.pods, err = findPodTraces(u.host, u.paths); err != nil {
		return fmt.Errorf("look for what is left of pods: %w", err)
	}
	var left []error
	for i, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if step.name == "files" && len(left) > 0 {
			break
		}
		u.console.begin(i+1, step.name)
		began := time.Now()
		detail, err := step.do(u, ctx)
		if err != nil {
			u.console.abandon()
			if step.name == leaveStep.name {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			left = append(left, fmt.Errorf("%s: %w", step.name, err))
			continue
		}
		u.console.end(detail, time.Since(began))
	}
	if len(left) > 0 {
		return fmt.Errorf("something of %s is left; run it again:\n%w", u.paths.DataDir, errors.Join(left...))
	}
	return nil
}

// isInstalled says whether there is anything of a node with these paths.
func isInstalled(p config.Paths) bool {
	return hasNode(p) || exists(p.Versions()) || exists(p.Run())
}

// hasNode says whether there is more than an unpacked executable, which any verb leaves that was
// told the data folder.
func hasNode(p config.Paths) bool {
	return exists(p.Install()) || exists(p.Current()) || exists(p.Server()) || exists(p.Agent())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// services are all kinds of service, since an install may have changed from one to the other. Those of
// OpenRC stop what runs by itself, too.
func (u *removal) services() (*systemd, *openRC) {
	plain := supervised{paths: u.paths, host: u.host, config: u.paths.ConfigFile()}
	return &systemd{paths: u.paths, etc: u.EtcDir, dir: u.SystemdDir, booted: u.host.Systemd(), host: u.host},
		&openRC{supervised: plain, etc: u.EtcDir, booted: u.host.OpenRC()}
}

// stopServices ends the service and forgets it, so that nothing starts the node again.
func (u *removal) stopServices(ctx context.Context) (string, error) {
	unit, script := u.services()
	if err := errors.Join(unit.stop(ctx), script.stop(ctx)); err != nil {
		return "", err
	}
	errs := []error{unit.forget(ctx), script.forget()}
	for _, path := range []string{modulesFile(u.EtcDir, u.paths), sysctlFile(u.EtcDir, u.paths)} {
		errs = append(errs, removeIfThere(path))
	}
	return "stopped and removed", errors.Join(append(errs, u.removeMadeFolders())...)
}

// removeMadeFolders removes the folders in /etc that installs have made, unless something else has come to be in them.
func (u *removal) removeMadeFolders() error {
	records, err := journal.Read(journalPath(u.paths))
	if err != nil {
		return ignoreNotExist(err)
	}
	var made []string
	for _, record := range records {
		if record.Kind != recordPlaced {
			continue
		}
		var p placed
		if err := record.Decode(&p); err != nil {
			return err
		}
		made = append(made, p.Made...)
	}
	for _, folder := range slices.Backward(made) {
		if hostinfo.Within(folder, u.EtcDir) {
			_ = os.Remove(folder)
		}
	}
	return nil
}

// removeFiles removes the node's files. It does not begin while anything is mounted below the data
// folder: what is mounted there belongs to someone else.
func (u *removal) removeFiles(context.Context) (string, error) {
	mounts, err := u.ourMounts()
	if err != nil {
		return "", err
	}
	if len(mounts) > 0 {
		return "", fmt.Errorf("%s is still mounted: the files stay", mounts[0].Point)
	}
	if _, err := kernel.Restore(kernel.Root, kernel.Settings, u.paths.KernelSettings()); err != nil { // a machine that protects them keeps them
		u.console.warn(err.Error())
	}
	errs := []error{u.undoUnfinished(), u.restoreHostFiles(), u.pods.remove(u)}
	folders := commandFolders
	if u.BinDir != "" {
		folders = []string{u.BinDir}
	}
	for _, folder := range folders {
		command := filepath.Join(folder, "airgap")
		if to, err := os.Readlink(command); err == nil && to == filepath.Join(u.paths.Current(), "airgap") {
			errs = append(errs, os.Remove(command))
			if u.BinDir == "" && folder != commandFolders[0] {
				_ = os.Remove(folder) // if nothing else is in it
			}
		}
	}
	for _, path := range []string{u.paths.ConfigFile(), u.paths.Kubeconfig()} {
		errs = append(errs, removeIfThere(path))
		_ = os.Remove(filepath.Dir(path)) // if nothing else is in it
	}
	errs = append(errs, os.RemoveAll(u.paths.Run()))
	// The install folder, which knows what else there is to undo, goes last.
	entries := slices.DeleteFunc(slices.Clone(dataEntries), func(name string) bool { return name == "install" })
	for _, name := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(u.paths.DataDir, name)))
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	if err := os.RemoveAll(u.paths.Install()); err != nil {
		return "", err
	}
	return "removed", u.removeDataDir()
}

// removeDataDir removes the emptied data folder, unless it is a file system of its own.
func (u *removal) removeDataDir() error {
	entries, err := os.ReadDir(u.paths.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries {
		switch name := entry.Name(); {
		case isTemporary(name):
			if err := os.RemoveAll(filepath.Join(u.paths.DataDir, name)); err != nil {
				return err
			}
		case name != "lost+found":
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("%s holds what is not airgap's: %s", u.paths.DataDir, strings.Join(names, ", "))
	}
	mounts, err := u.host.Mounts()
	if err != nil {
		return err
	}
	if m, ok := hostinfo.MountOf(mounts, u.paths.DataDir); ok && m.Point == u.paths.DataDir {
		return nil
	}
	return os.Remove(u.paths.DataDir)
}

// undoUnfinished takes back what an install has placed that never came to its commit: its journal alone knows of it.
func (u *removal) undoUnfinished() error {
	records, err := journal.Read(journalPath(u.paths))
	if err != nil {
		return err
	}
	t, err := lastTransaction(records)
	if err != nil || !t.open {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(t.placed) {
		errs = append(errs, p.undo())
	}
	return errors.Join(errs...)
}

// restoreHostFiles takes back the files that bundles have put on the host, and brings back
// what they replaced. A file that someone has changed since stays.
func (u *removal) restoreHostFiles() error {
	var files []hostFile
	if err := readJSON(hostFilesPath(u.paths), &files); err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		sum, err := fileSHA256(f.Target)
		switch {
		case errors.Is(err, fs.ErrNotExist) && f.Backup == "":
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		case err == nil && sum != f.SHA256:
			if f.Backup == "" || !isGone(f.Backup) {
				u.console.warn(f.Target + " was changed since a bundle brought it, and stays")
			}
		default:
			errs = append(errs, f.undo())
			if f.Backup != "" {
				errs = append(errs, removeIfThere(f.Backup))
			}
		}
	}
	return errors.Join(errs...)
}

func isGone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
