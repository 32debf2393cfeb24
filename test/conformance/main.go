// Package main runs Kubernetes' own end-to-end suite, k8s.io/kubernetes/test/e2e, against one node
// that has no way out, and writes what came of it as a page of Markdown. It needs root, and what `make
// conformance` builds first:
//
//	bin/airgap  build/root  dist/development.pub
//	build/conformance/{e2e.test,ginkgo,conformance.airgap}
//
//	go run ./test/conformance [-only conformance|netpol] [-focus REGEXP] [-skip REGEXP]
//	                          [-procs N] [-limit DURATION] [-o FOLDER] [-resume] [-report FILE]
//
// The node is installed from a bundle that carries the suite's images under their own names, runs in a
// network namespace, and is gone at the end with all that was started, also after a failure or Ctrl-C.
//
// Outcomes are kept in FOLDER/outcomes.json, so that the suite can be run in slices: -resume runs what
// has not passed yet, and the page tells of all that is known.
//
// The exit code is 1 if a spec fails that known.yaml does not list, or if one passes that it does list;
// 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	suite       string
	focus, skip *regexp.Regexp // nil: all, none
	procs       int
	limit       time.Duration
	results     string // folder
	resume      bool
	report      string // file; empty: none
}

// say tells what is going on.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func main() {
	o, err := parse()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func parse() (*options, error) {
	o := &options{}
	focus := flag.String("focus", "", "run only specs whose name matches the `regexp`")
	skip := flag.String("skip", "", "run no spec whose name matches the `regexp`")
	flag.StringVar(&o.suite, "only", "", "run only this `suite`: "+conformance.name+" or "+netpol.name)
	flag.IntVar(&o.procs, "procs", 4, "`how many` specs run at a time")
	flag.DurationVar(&o.limit, "limit", 3*time.Hour, "how `long` specs may run in all")
	flag.StringVar(&o.results, "o", "build/conformance/results", "`folder` of the outcomes, and of each run's log and JUnit report")
	flag.BoolVar(&o.resume, "resume", false, "leave out what has passed or was skipped in an earlier run")
	flag.StringVar(&o.report, "report", "", "`file` to write the page to")
	flag.Parse()
	var err error
	if o.focus, err = pattern(*focus); err != nil {
		return nil, fmt.Errorf("-focus: %w", err)
	}
	if o.skip, err = pattern(*skip); err != nil {
		return nil, fmt.Errorf("-skip: %w", err)
	}
	switch {
	case flag.NArg() > 0 || o.procs < 1 || o.limit <= 0:
		return nil, errors.New("wrong arguments: -procs and -limit are positive, and nothing follows the flags")
	case o.suite != "" && o.suite != conformance.name && o.suite != netpol.name:
		return nil, fmt.Errorf("-only %s: want %s or %s", o.suite, conformance.name, netpol.name)
	case os.Geteuid() != 0:
		return nil, errors.New("a real node is installed: run this as root")
	}
	return o, nil
}

// pattern compiles a regular expression; none for an empty text.
func pattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	return regexp.Compile(text)
}

// run chooses the specs, runs them, and says what came of it.
func run(ctx context.Context, o *options) error {
	repository, err := os.Getwd()
	if err != nil {
		return err
	}
	known, err := readKnown(filepath.Join(repository, "test/conformance/known.yaml"))
	if err != nil {
		return err
	}
	program, err := newProgram(repository)
	if err != nil {
		return err
	}
	all, err := program.list(ctx)
	if err != nil {
		return err
	}
	kept, err := openOutcomes(o.results)
	if err != nil {
		return err
	}
	chosen := choose(all, o, kept)
	say("%d of the suites' %d specs are to run, %d at a time", len(chosen), len(all), o.procs)
	if len(chosen) > 0 {
		came, err := program.run(ctx, chosen, o)
		if saveErr := kept.add(came); saveErr != nil {
			return errors.Join(err, saveErr)
		}
		if err != nil {
			return err
		}
	}
	if o.report != "" {
		if err := writeReport(o.report, all, kept, known); err != nil {
			return err
		}
	}
	return verdict(chosen, kept, known)
}

// choose picks from all specs those that the options ask for.
func choose(all []string, o *options, kept *outcomes) []string {
	var chosen []string
	for _, spec := range all {
		switch {
		case o.suite != "" && suiteOf(spec).name != o.suite,
			o.focus != nil && !o.focus.MatchString(spec),
			o.skip != nil && o.skip.MatchString(spec):
			continue
		}
		if came, ok := kept.Specs[spec]; o.resume && ok && came.State != failed {
			continue
		}
		chosen = append(chosen, spec)
	}
	return chosen
}

// verdict compares what came of the chosen specs with what is known to fail.
func verdict(chosen []string, kept *outcomes, known knownFailures) error {
	var wrong []error
	count := map[state]int{}
	for _, spec := range chosen {
		came, ran := kept.Specs[spec]
		_, listed := known[spec]
		switch {
		case !ran:
			wrong = append(wrong, fmt.Errorf("did not come to run: %s", spec))
			continue
		case came.State == failed && !listed:
			wrong = append(wrong, fmt.Errorf("failed: %s\n\t%s", spec, firstLine(came.Message)))
		case came.State == passed && listed:
			wrong = append(wrong, fmt.Errorf("passed, but known.yaml says that it fails: %s", spec))
		}
		count[came.State]++
	}
	say("%d passed, %d failed, %d skipped by the suite", count[passed], count[failed], count[skipped])
	return errors.Join(wrong...)
}
