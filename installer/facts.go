package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/bundle"
	"airgap/installer/preflight"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// What a preflight says; see package [preflight].
type (
	Facts   = preflight.Facts
	Finding = preflight.Finding
	// PreflightError carries every problem that a preflight found.
	PreflightError = preflight.Error
)

// subject is what this run installs, and what other runs of the same join will.
func (r *run) subject() preflight.Subject {
	s := preflight.Subject{
		Server: r.Server, Agent: r.agent, Version: r.Version, Fetched: r.remote != nil,
		Init: string(r.Init), NoBoot: r.noBoot, BinDir: r.BinDir,
	}
	if r.manifest != nil {
		s.Bundles = []*bundle.Manifest{r.manifest}
	}
	if r.member != nil && len(r.member.queue) > 1 {
		for _, q := range r.member.queue[1:] {
			s.Bundles = append(s.Bundles, q.reader.Manifest())
		}
	}
	return s
}

// gatherFacts looks at the machine, and at what the installer itself has there. It changes nothing.
func gatherFacts(r *run) (Facts, error) {
	p := r.paths
	f, err := preflight.Look(r.host, r.subject(), r.nft())
	if err != nil {
		return f, err
	}
	f.Foreign = foreignEntries(p.DataDir)
	f.HasBlob = func(hex string) bool { return blobExists(p, hex) }
	f.Installed = r.installed()
	was, err := config.ReadNodeIdentity(p)
	if hidden(f, err) != nil {
		return f, err
	}
	f.NodeName = was.Name
	if h, err := lockHolder(p); hidden(f, err) != nil {
		return f, err
	} else if h != nil && r.lock == nil {
		f.Busy = h.String()
	}
	if f.Running, err = r.service.running(); err != nil {
		return f, err
	}
	if r.Join != nil && !isAgent(p) {
		f.Server = lookAtServer(r.Join)
	}
	if f.Root {
		f.OtherNode, err = otherClaimant(p.DataDir)
	}
	return f, err
}

// hidden leaves out what nobody but root may see: that one is not root is a finding already.
func hidden(f Facts, err error) error {
	if !f.Root && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// nft is the node's own, which is beside this executable once it is unpacked; empty if it is not.
func (r *run) nft() string {
	if r.Tools == "" {
		return ""
	}
	if name := filepath.Join(r.Tools, "nft"); exists(name) {
		return name
	}
	return ""
}

// look gathers the facts and judges them.
func (r *run) look() error {
	var err error
	if r.facts, err = r.Options.facts(r); err != nil {
		return fmt.Errorf("look at the machine: %w", err)
	}
	if r.member.serving() { // the port is ours
		r.facts.Listeners = withoutPort(r.facts.Listeners, r.Server.PeerPort)
	}
	r.findings = preflight.Judge(r.facts, r.subject())
	for _, f := range preflight.Only(r.findings, preflight.Warn) {
		r.report.Warnings = append(r.report.Warnings, f.String())
	}
	return nil
}

// preflight looks at the machine, raises a clock that is certainly wrong, and fails if there is
// any problem.
func (r *run) preflight(ctx context.Context) (string, error) {
	if err := r.look(); err != nil {
		return "", err
	}
	r.findings = append(r.findings, r.skew(ctx)...)
	if issued, behind := preflight.ClockBehind(r.facts, r.manifest); behind {
		if err := r.setClock(issued); err != nil {
			r.findings = append(r.findings, Finding{
				Check: "clock", Level: preflight.Fail,
				Text:   fmt.Sprintf("it is before the bundle was made and cannot be raised: %v", err),
				Why:    "certificates made now would count as expired too early",
				Remedy: fmt.Sprintf("set it, e.g. date -u -s %s", issued.Format(time.RFC3339)),
			})
		}
	}
	if err := preflight.Problems(r.findings); err != nil {
		return "", err
	}
	if r.installed() {
		r.well = r.lookAround(ctx)
	}
	return "the machine can take it", nil
}

// isTemporary says whether an entry of the data folder is what a killed process was writing in the place of one of a node's, or had tried the kernel
// with. What goes on, or an uninstall, takes it away.
func isTemporary(name string) bool {
	return strings.HasPrefix(name, hostinfo.ProbePrefix) || slices.ContainsFunc(dataEntries, func(entry string) bool {
		return name == entry+".new" || strings.HasPrefix(name, "."+entry+".") && strings.HasSuffix(name, ".tmp")
	})
}

// foreignEntries lists what is in the data folder and no node's.
func foreignEntries(dataDir string) []string {
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return nil // there is none
	}
	var foreign []string
	for _, entry := range entries {
		if name := entry.Name(); name != "lost+found" && !slices.Contains(dataEntries, name) && !isTemporary(name) {
			foreign = append(foreign, entry.Name())
		}
	}
	return foreign
}

// containerdEntry is containerd's folder, below that of the agent.
const containerdEntry = "agent/containerd"

// dataEntries is everything that a node and its installer keep in the data folder.
var dataEntries = []string{
	"data", "current", "previous", "server", "agent", "install", "bundles", "trust", "storage",
	"config.yaml", "config.yaml.d", "airgap.yaml", "airgap.log", "airgap.log.1",
}

func setSystemClock(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}

// blobExists says whether containerd's store has the blob.
func blobExists(p config.Paths, hex string) bool {
	_, err := os.Stat(filepath.Join(p.ContentBlobs(), hex))
	return err == nil
}
