package installer

import (
	"context"
	"fmt"
	"strings"

	"airgap/bundle/media"
	"airgap/installer/preflight"
	"airgap/internal/progress"
)

// Step is one step of an install, as [Plan] lists it.
type Step struct {
	Name  string `json:"name"`
	About string `json:"about"` // what it does for this bundle on this machine
}

// step is a step that can be run. Each may be run again, after it was interrupted or done.
type step struct {
	name  string
	about func(*run) string
	do    func(*run, context.Context) (detail string, err error)
	once  bool            // not repeated by a run that continues after the switch
	swift bool            // not interrupted when the node is stopped for it
	when  func(*run) bool // whether the run has this step; nil: always
}

// steps is the install, in order. The package comment says what each is for.
var steps = []step{
	{name: "join", do: (*run).join, when: func(r *run) bool { return r.Join != nil }, about: func(r *run) string {
		return "the cluster of " + r.Join.Server
	}},
	{name: "verify", do: (*run).verify, about: func(r *run) string {
		return "the signature of " + media.Name(r.Bundle)
	}},
	{name: "preflight", do: (*run).preflight, about: func(*run) string {
		return "what could stop the install later"
	}},
	{name: "import", do: (*run).importBundle, once: true, about: func(r *run) string {
		return fmt.Sprintf("%d images, %s, into %s", len(r.manifest.Images), progress.Bytes(r.bundleBytes()), r.paths.Containerd())
	}},
	{name: "distribution", do: (*run).stageDistribution, once: true, about: func(r *run) string {
		if d := r.distribution(); d != nil {
			return fmt.Sprintf("airgap %s with Kubernetes %s into %s", d.Version, d.Kubernetes, r.paths.Versions())
		}
		return "none in the bundle: the one that is installed stays"
	}},
	{name: "images", do: (*run).showImages, once: true, about: func(r *run) string {
		return fmt.Sprintf("%d references become visible", len(r.references()))
	}},
	{name: "trial", do: (*run).beginTrial, once: true, when: (*run).installed, about: func(r *run) string {
		if r.distribution() == nil {
			return "none: no other version comes"
		}
		return "if it is another version: stop the node, keep the datastore, note how to go back"
	}},
	{name: "configuration", swift: true, do: (*run).configure, about: func(r *run) string {
		return r.paths.ConfigFile()
	}},
	{name: "content", swift: true, do: (*run).placeContent, about: func(r *run) string {
		m := r.manifest
		return fmt.Sprintf("%d files, %d charts, %d manifests", len(m.Files), len(m.Charts), len(m.Manifests))
	}},
	{name: "service", swift: true, do: (*run).installService, about: func(r *run) string {
		return r.service.about()
	}},
	{name: "switch", do: (*run).switchCurrent, once: true, swift: true, about: func(r *run) string {
		return r.paths.Current() + ": the new version takes effect"
	}},
	{name: "start", swift: true, do: (*run).startService, about: func(*run) string {
		return "the service"
	}},
	{name: "node", do: (*run).awaitNode, about: func(r *run) string {
		return fmt.Sprintf("wait until the node is Ready, at most %s", r.Timeout)
	}},
	{name: "releases", do: (*run).awaitReleases, when: func(r *run) bool { return !r.agent }, about: func(r *run) string {
		if len(r.manifest.Charts) == 0 {
			return "none to wait for"
		}
		names := make([]string, len(r.manifest.Charts))
		for i, c := range r.manifest.Charts {
			names[i] = c.Release
		}
		return fmt.Sprintf("wait until %s are Ready, at most %s", strings.Join(names, ", "), r.Timeout)
	}},
	{name: "health", do: (*run).proveTrial, when: (*run).installed, about: func(r *run) string {
		return fmt.Sprintf("the new version goes on for %s, with all as well as before, or the old one comes back", r.Probation)
	}},
	{name: "retain", do: (*run).retain, about: func(r *run) string {
		return "what other machines need of the bundle, into " + r.paths.Bundles()
	}},
	{name: "commit", do: (*run).commit, about: func(r *run) string {
		return "trust, accepted version, report in " + r.reports()
	}},
}

// Plan verifies the bundle and lists the steps that [Run] would take. It changes nothing.
func Plan(ctx context.Context, opts Options) ([]Step, error) {
	if opts.Join != nil {
		return nil, fmt.Errorf("%w: what a join would do is known only by joining", ErrUsage)
	}
	r, err := newRun(opts)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if _, err := r.verify(ctx); err != nil {
		return nil, err
	}
	list := make([]Step, len(r.steps))
	for i, s := range r.steps {
		list[i] = Step{Name: s.name, About: s.about(r)}
	}
	return list, nil
}

// Check runs the preflight alone, for a bundle if opts names one, and returns what it found. The
// error is a [*PreflightError] if there are problems.
func Check(ctx context.Context, opts Options) ([]Finding, error) {
	r, err := newRun(opts)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if opts.Bundle != "" {
		if _, err := r.verify(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.look(); err != nil {
		return nil, err
	}
	r.findings = append(r.findings, r.askToJoin(ctx)...)
	return r.findings, preflight.Problems(r.findings)
}

// Run installs the bundle, or continues an install of it that was interrupted, and returns
// the report that it has written. See [Join] for a machine that becomes a node of a cluster of others.
func Run(ctx context.Context, opts Options) (*Report, error) {
	opts.Join = nil
	r, err := newRun(opts)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.runSteps(ctx); err != nil {
		return nil, err
	}
	return r.report, nil
}

// runSteps runs the steps of one bundle.
func (r *run) runSteps(ctx context.Context) error {
	if err := r.awaitTurn(ctx); err != nil {
		return err
	}
	for i, s := range r.steps {
		if s.name == "import" {
			if err := r.begin(ctx); err != nil {
				return r.failed(ctx, "begin", err)
			}
		}
		if err := r.step(ctx, i, s); err != nil {
			return r.failed(ctx, s.name, err)
		}
	}
	return nil
}
