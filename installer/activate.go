package installer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"airgap/installer/preflight"
	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
	"airgap/internal/payload"
)

// maxStagedBytes bounds what is read from the staging folder into memory: charts, manifests
// and host files.
const maxStagedBytes = 64 << 20

// stageDistribution unpacks the executables beside those of the version that runs.
func (r *run) stageDistribution(context.Context) (string, error) {
	d := r.distribution()
	if d == nil {
		return "none in the bundle", nil
	}
	executable := filepath.Join(r.staging(), hexOf(d.Digest))
	packed, err := payload.Open(executable)
	if err != nil {
		return "", fmt.Errorf("the bundle's distribution: %w", err)
	}
	name, unpacked := packed.Digest(), packed.UnpackedBytes()
	if err := packed.Close(); err != nil {
		return "", err
	}
	if _, err := os.Lstat(filepath.Join(r.paths.Versions(), name)); errors.Is(err, fs.ErrNotExist) {
		if err := r.journal.Append(recordStaged, name); err != nil {
			return "", err
		}
		r.unfinish.staged = name
	}
	if _, err := payload.Stage(executable, r.paths.Versions()); err != nil {
		return "", err
	}
	r.report.Airgap, r.report.Kubernetes = d.Version, d.Kubernetes
	return fmt.Sprintf("airgap %s, Kubernetes %s, %d MB", d.Version, d.Kubernetes, unpacked/1e6), nil
}

// configHeader stands at the top of a configuration file that the installer wrote, with the verb that reads it.
const configHeader = "# Configuration of the airgap node. Keys are the flags of `airgap %s`.\n"

// configure writes the node's configuration file: what it had, with what this install was told on top.
func (r *run) configure(context.Context) (string, error) {
	path := r.paths.ConfigFile()
	values := map[string]any{}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := yaml.Unmarshal(data, &values); err != nil {
		return "", fmt.Errorf("%s: %w; correct or remove it", path, err)
	}
	if values == nil { // an empty document
		values = map[string]any{}
	}
	changes := false
	set := func(key string, value any) {
		old, err1 := yaml.Marshal(values[key])
		updated, err2 := yaml.Marshal(value)
		changes = changes || errors.Join(err1, err2) != nil || !bytes.Equal(old, updated)
		values[key] = value
	}
	for key, value := range r.Config {
		set(key, value)
	}
	// Without a default route nothing tells the node which address is its own.
	if r.Server.NodeIP == "" && !r.facts.DefaultRoute && values["node-ip"] == nil {
		if addresses, missing := preflight.DefaultNodeIP(r.facts, r.Server); missing == "" {
			set("node-ip", addresses)
		}
	}
	if data != nil && !changes {
		return path + ", unchanged", nil
	}
	text := fmt.Appendf(nil, configHeader, r.verb())
	if len(values) > 0 {
		body, err := yaml.Marshal(values)
		if err != nil {
			return "", err
		}
		text = append(text, body...)
	}
	if err := r.placeForStart(placement{target: path, mode: 0o600, data: text}); err != nil {
		return "", err
	}
	return path, nil
}

// installService writes and enables the service, and makes `airgap` a command.
func (r *run) installService(context.Context) (string, error) {
	files, err := r.service.files()
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if err := r.placeForStart(f); err != nil {
			return "", err
		}
	}
	command := filepath.Join(r.BinDir, "airgap")
	if free, err := r.commandFree(command); err != nil {
		return "", err
	} else if !free {
		r.console.warn(command + " is something else and stays; this node's is " + r.commandTarget())
	} else if err := r.place(placement{target: command, link: r.commandTarget()}); errors.Is(err, unix.EROFS) {
		r.console.warn(r.BinDir + " cannot be written; call airgap as " + r.commandTarget())
	} else if err != nil {
		return "", err
	}
	return r.service.about(), nil
}

// commandFolders are where the command `airgap` may be, the first that can be written: a distribution whose /usr cannot often leaves
// /opt/bin to its owner.
var commandFolders = []string{"/usr/local/bin", "/opt/bin"}

func commandFolder() string {
	for _, folder := range commandFolders {
		if disk, err := hostinfo.DiskAt(hostinfo.ExistingParent(folder)); err == nil && !disk.ReadOnly {
			return folder
		}
	}
	return commandFolders[0]
}

// commandTarget is the executable that the command `airgap` stands for.
func (r *run) commandTarget() string { return filepath.Join(r.paths.Current(), "airgap") }

// commandFree says whether command may become our link: there is nothing, or that link.
func (r *run) commandFree(command string) (bool, error) {
	to, err := os.Readlink(command)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err == nil:
		return to == r.commandTarget(), nil
	}
	if _, statErr := os.Lstat(command); statErr == nil {
		return false, nil // a file
	}
	return false, err
}

// showImages makes the images visible, after the journal knows what their references stood for.
func (r *run) showImages(ctx context.Context) (string, error) {
	names := r.references()
	before, err := r.store.Standings(ctx, names)
	if err != nil {
		return "", err
	}
	if r.unfinish.images == nil { // by a run that this one continues, they may stand for the new ones by now
		if err := r.journal.Append(recordImages, before); err != nil {
			return "", err
		}
		r.unfinish.images = before
	}
	if err := r.fault("images noted"); err != nil {
		return "", err
	}
	if err := r.importing.Commit(ctx); err != nil {
		return "", err
	}
	r.importing = nil
	if err := r.store.Close(); err != nil {
		return "", err
	}
	r.store = nil
	return fmt.Sprintf("%d references", len(names)), r.fault("images visible")
}

// switchCurrent makes the new version the current one: one rename.
func (r *run) switchCurrent(context.Context) (string, error) {
	folder, err := r.bundledVersion()
	if err != nil || folder == "" {
		return "unchanged", err
	}
	to := linkTo(r.paths, folder)
	if now, err := os.Readlink(r.paths.Current()); err == nil && now == to {
		return "unchanged", nil
	}
	return r.paths.Current() + " → " + to[:min(len(to), 17)], atomicfile.Link(to, r.paths.Current())
}

// bundledVersion is the folder of the version that the bundle brought, which is staged; empty if it brought none.
func (r *run) bundledVersion() (folder string, err error) {
	d := r.distribution()
	if d == nil {
		return "", nil
	}
	packed, err := payload.Open(filepath.Join(r.staging(), hexOf(d.Digest)))
	if err != nil {
		return "", err
	}
	return packed.Digest(), packed.Close()
}

// startService starts the node, anew if something it reads at its start has changed.
func (r *run) startService(ctx context.Context) (string, error) {
	if r.moreFollow() {
		return "with the next bundle", nil
	}
	if r.remote != nil {
		r.member.peers.endServing(ctx)
	}
	running, err := r.service.running()
	if err != nil {
		return "", err
	}
	if running && !r.changed {
		r.started = r.runningSince() // nothing is to be reported anew
		return "it runs on", nil
	}
	if running {
		if err := r.stopNode(ctx); err != nil {
			return "", err
		}
	}
	r.started = time.Now()
	tried, err := r.startNode(ctx)
	if err != nil {
		return "", err
	}
	r.changed = false
	if !tried {
		r.report.NotStarted = true
		return "at the next boot", nil
	}
	return r.service.about(), nil
}

// installed says whether this machine runs a version already.
func (r *run) installed() bool {
	_, err := os.Stat(filepath.Join(r.paths.Current(), "airgap"))
	return err == nil
}

// staged reads a blob from the staging folder, and makes sure that it still is what it was
// when it was verified: that may have been before a power cut.
func (r *run) staged(digest string) ([]byte, error) {
	path := filepath.Join(r.staging(), hexOf(digest))
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxStagedBytes {
		return nil, fmt.Errorf("blob %s has %d bytes; charts, manifests and files may have %d", digest, info.Size(), maxStagedBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if !strings.EqualFold(hex.EncodeToString(sum[:]), hexOf(digest)) {
		return nil, fmt.Errorf("staged blob %s is damaged; airgap uninstall, check the disk, and install again", digest)
	}
	return data, nil
}
