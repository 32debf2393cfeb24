package installer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/node/config"
)

const (
	proofPoll = time.Second
	// afterFirst is how much longer a proof that has failed looks: what has one problem often has others.
	afterFirst = 4 * time.Second
)

// DefaultSettle is for how long all must be Ready, and no new pod appear, before a bundle counts as proved: an operator that starts pods
// does so in its first seconds.
const DefaultSettle = 10 * time.Second

// ProofOptions is what a proof is told.
type ProofOptions struct {
	Bundles []string      // as for [Options.Bundle], installed one after the other: the last is to be proved
	Install Options       // of each; its Timeout bounds the wait after the last install, too
	Settle  time.Duration // 0: DefaultSettle
}

// Proof is what started.
type Proof struct {
	Pods    int      `json:"pods"`    // Ready, or done
	Images  []string `json:"images"`  // that containers of pods were started from, as the pods name them; sorted
	Seconds float64  `json:"seconds"` // from the first install on
}

// ProofError says what did not start.
type ProofError struct {
	About    string // what they have in common
	Images   bool   // they are about images that no bundle has
	Problems []Unproven
}

// Unproven is an object that did not become what it should.
type Unproven struct {
	Object string // "pod demo/web-0"
	Image  string // of its container, if the matter is with one
	Why    string
}

func (u Unproven) String() string {
	if u.Image == "" {
		return u.Object + ": " + u.Why
	}
	return fmt.Sprintf("%s, image %s: %s", u.Object, u.Image, u.Why)
}

func (e *ProofError) Error() string {
	var text strings.Builder
	text.WriteString(e.About)
	for _, problem := range e.Problems {
		text.WriteString("\n  " + problem.String())
	}
	return text.String()
}

// Prove installs bundles on a machine that has nothing and no way out, and watches until all that is in the last of them has started. The
// error is a [*ProofError] if a pod wanted an image that is not there, then at once, or if something was not Ready in time.
// What it has started goes on: the machine is the caller's to take down.
func Prove(ctx context.Context, o ProofOptions) (*Proof, error) {
	if err := o.Install.complete(); err != nil {
		return nil, err
	}
	if o.Settle == 0 {
		o.Settle = DefaultSettle
	}
	began := time.Now()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := &witness{
		ProofOptions: o, paths: config.PathsOf(o.Install.Server.DataDir), started: map[string]bool{},
		console: &console{out: o.Install.Out, terminal: o.Install.Terminal, label: "proof"},
	}
	installed, watched := make(chan struct{}), make(chan error, 1)
	go func() {
		watched <- w.watch(ctx, installed)
		stop() // an install that still runs
	}()
	for i, bundle := range o.Bundles {
		one := o.Install
		one.Bundle = bundle
		if i > 0 {
			one.Keys = nil // the machine's trust is set
		}
		if _, err := Run(ctx, one); err != nil {
			stop()
			return nil, w.installFailed(err, <-watched)
		}
	}
	close(installed)
	if err := <-watched; err != nil {
		return nil, err
	}
	return &Proof{Pods: w.ready, Images: slices.Sorted(maps.Keys(w.started)), Seconds: time.Since(began).Seconds()}, nil
}

// witness watches the cluster of a proof.
type witness struct {
	ProofOptions
	paths   config.Paths
	console *console

	pulls   []Unproven      // that will not be otherwise
	failed  time.Time       // when the first of them was seen
	waiting []Unproven      // at the last look
	pods    map[string]bool // at the last look, by UID
	changed time.Time       // when something was last waited for, or other pods were there than before
	ready   int             // pods, at the last look
	started map[string]bool // images
}

// watch returns when all has started and stayed so, which is not before installed is closed; with a *ProofError when that will not be.
func (w *witness) watch(ctx context.Context, installed <-chan struct{}) error {
	ticker := time.NewTicker(proofPoll)
	defer ticker.Stop()
	var late <-chan time.Time
	w.changed = time.Now()
	for {
		w.look(ctx)
		switch {
		case len(w.pulls) > 0 && time.Since(w.failed) >= afterFirst:
			return &ProofError{"the bundle cannot serve what pods pull:", true, w.pulls}
		case late != nil && len(w.pulls) == 0 && time.Since(w.changed) >= w.Settle:
			w.console.clear()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return &ProofError{fmt.Sprintf("not Ready within %s of the install:", w.Install.Timeout), false, w.unready()}
		case <-installed:
			installed, late = nil, time.After(w.Install.Timeout)
		case <-ticker.C:
		}
		if late != nil && len(w.waiting) > 0 {
			w.console.wait(w.waiting[0].String())
		}
	}
}

// unready is what was waited for at the last look. That may be nothing, if pods come and go.
func (w *witness) unready() []Unproven {
	if len(w.waiting) == 0 {
		return []Unproven{{Object: "pods", Why: "new ones are made all the time"}}
	}
	return w.waiting
}

// installFailed is the error of an install that did not come to its end, given that of the watch beside it.
func (w *witness) installFailed(err, watched error) error {
	var proof *ProofError
	switch {
	case errors.As(watched, &proof): // which is why the install was stopped
		return watched
	case errors.Is(err, context.Canceled) || w.pods == nil || len(w.waiting) == 0:
		return err
	}
	return errors.Join(err, &ProofError{"not Ready then:", false, w.waiting})
}

// look takes a look at the cluster. One that does not answer, yet or for a moment, has changed.
func (w *witness) look(ctx context.Context) {
	var now proofLook
	if err := now.read(ctx, w.Install.Server.Kubeconfig); ctx.Err() != nil {
		return
	} else if err != nil {
		w.waiting, w.changed = []Unproven{{Object: "API server", Why: brief(err)}}, time.Now()
		return
	}
	carried := w.carried()
	for _, problem := range slices.Concat(now.refusedPulls(carried), now.missingImages(carried)) {
		w.noteFinal(problem)
	}
	w.waiting = now.waiting(w.manifests())
	pods := map[string]bool{}
	w.ready = 0
	for _, pod := range now.pods.Items {
		pods[pod.Metadata.UID] = true
		if pod.isWell() {
			w.ready++
		}
		for _, image := range pod.startedFrom() {
			w.started[image] = true
		}
	}
	if len(w.waiting) > 0 || !maps.Equal(pods, w.pods) {
		w.changed = time.Now()
	}
	w.pods = pods
}

// noteFinal keeps a problem that will not go away, once.
func (w *witness) noteFinal(problem Unproven) {
	for _, known := range w.pulls {
		if known.Object == problem.Object && known.Image == problem.Image {
			return
		}
	}
	if len(w.pulls) == 0 {
		w.failed = time.Now()
	}
	w.pulls = append(w.pulls, problem)
}

// carried are the references of all images that bundles have brought.
func (w *witness) carried() map[string]bool {
	names := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(w.paths.PinnedImages(), "*.txt"))
	for _, file := range files {
		list, _ := os.ReadFile(file) // it is replaced as a whole
		for name := range strings.FieldsSeq(string(list)) {
			names[name] = true
		}
	}
	return names
}

// manifests are the files that the node's deployer applies, by their names below its folder.
func (w *witness) manifests() []string {
	files, _ := filepath.Glob(filepath.Join(w.paths.Manifests(), "*", "*.yaml"))
	for i, file := range files {
		files[i] = strings.TrimPrefix(file, w.paths.Manifests()+"/")
	}
	return files
}
