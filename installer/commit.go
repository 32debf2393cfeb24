package installer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/internal/atomicfile"
	"airgap/internal/snapshot"
	"airgap/node/config"
)

// Report is the record of an install that was successful, or of a bundle that was left again; it stays in <data-dir>/install/reports.
type Report struct {
	Bundle   string   `json:"bundle"`
	Version  string   `json:"version"`
	Digest   string   `json:"digest"`  // of the bundle manifest
	Signers  []string `json:"signers"` // IDs of the trusted keys that signed it
	Unsigned bool     `json:"unsigned,omitempty"`

	Airgap     string `json:"airgap,omitempty"`     // version of the distribution it brought
	Kubernetes string `json:"kubernetes,omitempty"` // of the same
	Node       string `json:"node,omitempty"`
	NotStarted bool   `json:"notStarted,omitempty"` // the service manager did not run

	Images      int      `json:"images"`
	BundleBytes int64    `json:"bundleBytes"`
	FromPeers   int64    `json:"fromPeers,omitempty"` // bytes of it that came from other nodes, those of an interrupted run included
	Charts      int      `json:"charts"`
	Manifests   int      `json:"manifests"`
	Files       int      `json:"files"`
	Releases    []string `json:"releases,omitempty"` // "podinfo 6.9.2", in the order they became Ready

	RolledBack        string `json:"rolledBack,omitempty"`        // why the version of before runs, which Airgap and Kubernetes name; empty: the bundle is installed
	DatastoreRestored bool   `json:"datastoreRestored,omitempty"` // to what it was before the bundle

	Warnings []string     `json:"warnings,omitempty"`
	Started  time.Time    `json:"started"`
	Finished time.Time    `json:"finished"`
	Steps    []StepReport `json:"steps"`
}

// StepReport is what one step did.
type StepReport struct {
	Name    string  `json:"name"`
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

// commit makes what this install taught the machine permanent. It is the last step: everything
// before may have failed without a trace here.
func (r *run) commit(context.Context) (string, error) {
	if given := r.given(); len(given.Keys)+len(given.Identities) > 0 && r.trust.Statement() == nil && !r.report.Unsigned {
		if err := r.trust.Init(given); err != nil {
			return "", err
		}
	}
	if err := r.fault("commit set trust"); err != nil {
		return "", err
	}
	if err := r.accept(); err != nil {
		return "", err
	}
	if err := r.keepHostFiles(); err != nil {
		return "", err
	}
	r.report.Finished = time.Now().UTC()
	// The node may have set the clock in between: the report keeps how long it took, by the clock that is right.
	r.report.Started = r.report.Finished.Add(-r.report.Finished.Sub(r.report.Started))
	path, err := r.report.write(r.paths)
	if err != nil {
		return "", err
	}
	if err := r.fault("commit wrote report"); err != nil {
		return "", err
	}
	if err := r.journal.Append(recordEnd, "committed"); err != nil {
		return "", err
	}
	if err := r.fault("commit ended"); err != nil {
		return "", err
	}
	err = errors.Join(os.RemoveAll(r.staging()), r.journal.Close(), r.prune())
	r.journal = nil
	return path, err
}

// prune removes what neither the version that runs nor the one before it needs.
func (r *run) prune() error {
	if _, err := pruneVersions(r.paths); err != nil {
		return err
	}
	_, err := snapshot.Prune(r.paths.Snapshots(), snapshotPrefix, keptSnapshots)
	return err
}

// write writes the report and returns its path.
func (r *Report) write(p config.Paths) (string, error) {
	folder := filepath.Join(p.Install(), "reports")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%s-%s.json", r.Finished.Format("20060102T150405Z"), r.Bundle, r.Version)
	path := filepath.Join(folder, name)
	return path, atomicfile.WriteJSON(path, r, 0o644)
}

// readReports returns the reports of all installs, the oldest first.
func readReports(p config.Paths) ([]*Report, error) {
	folder := filepath.Join(p.Install(), "reports")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Report
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".json" || strings.HasPrefix(entry.Name(), ".") {
			continue // being written
		}
		report := new(Report)
		if err := readJSON(filepath.Join(folder, entry.Name()), report); err != nil {
			return nil, err
		}
		all = append(all, report)
	}
	slices.SortStableFunc(all, func(a, b *Report) int { return a.Finished.Compare(b.Finished) })
	return all, nil
}

// hostFile is a file that a bundle has put on the host, for an uninstall to take back.
type hostFile struct {
	placed
	SHA256 string `json:"sha256"` // what was put there: a file changed since is left alone
}

func hostFilesPath(p config.Paths) string { return filepath.Join(p.Install(), "files.json") }

// keepHostFiles adds the host files of this bundle to the list of all, and removes the
// copies of replaced files that nothing needs any more. The first copy of a file is the one that
// an uninstall restores.
func (r *run) keepHostFiles() error {
	var all []hostFile
	if err := readJSON(hostFilesPath(r.paths), &all); err != nil {
		return err
	}
	for _, f := range r.manifest.Files {
		if known := slices.IndexFunc(all, func(h hostFile) bool { return h.Target == f.Target }); known >= 0 {
			all[known].SHA256 = hexOf(f.Digest)
			continue
		}
		for _, p := range r.unfinish.placed {
			if p.Target == f.Target {
				all = append(all, hostFile{placed: p, SHA256: hexOf(f.Digest)})
				break
			}
		}
	}
	if len(all) > 0 {
		if err := atomicfile.WriteJSON(hostFilesPath(r.paths), all, 0o644); err != nil {
			return err
		}
	}
	proven, err := readTrial(provenPath(r.paths))
	if err != nil {
		return err
	}
	needed := func(path string) bool {
		return slices.ContainsFunc(all, func(h hostFile) bool { return h.Backup == path }) ||
			proven != nil && slices.ContainsFunc(proven.Placed, func(p placed) bool { return p.Backup == path })
	}
	copies, err := os.ReadDir(r.backups())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range copies {
		path := filepath.Join(r.backups(), entry.Name())
		if !needed(path) {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// readJSON reads a file that atomicfile.WriteJSON wrote; one that does not exist leaves v as it is.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// fileSHA256 returns the digest of a file, in hex.
func fileSHA256(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
