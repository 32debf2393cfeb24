// Package main measures airgap and prints the figures as Markdown tables, ready for
// docs/benchmarks.md. It needs root, and what `make bench` builds first:
//
//	bin/airgap  build/root  dist/system.airgap  dist/development.{key,pub}  build/podinfo/{image,chart}
//
//	go run ./test/bench [-runs N] [-only TOPIC[,TOPIC…]] [-size MB] [-window DURATION]
//
// Each topic is measured N times and told as "median (minimum–maximum)". What is compared is measured in
// pairs, one right after the other in alternating order, and the ratio is taken pair by pair: a
// machine that is busy for a while disturbs both halves of a pair. Real nodes run in a network
// namespace that has no way out. Everything that is started, and every file, is gone at the end,
// also after a failure or Ctrl-C.
//
// The exit code is 1 if something failed or a median exceeds its limit, 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	machines "airgap/test/site"
)

// topic is one thing that is measured. Its run prints its own table.
type topic struct {
	name  string
	title string
	run   func(context.Context, *bench) error
}

var topics = []topic{
	{"size", "Size of the executable", benchSize},
	{"throughput", "Build and verify", benchThroughput},
	{"media", "A bundle in parts, in a folder and through a pipe", benchMedia},
	{"build", "Build from a registry", benchBuild},
	{"import", "Import of images", benchImport},
	{"registry", "The registry, and many machines at once", benchRegistry},
	{"install", "Install", benchInstall},
	{"idle", "A node at rest", benchIdle},
	{"restart", "Restart of the service", benchRestart},
	{"pods", "100 pods at once", benchPods},
	{"policy", "Network policies", benchPolicy},
}

// bench is one run of this program.
type bench struct {
	repository string // the checkout
	work       string // a folder for everything that is made
	runs       int
	sizeMB     int           // of the content-only bundle; 1 MB is 1e6 bytes
	rest       time.Duration // of a node before it counts as at rest
	window     time.Duration // over which the processor time of a resting node is counted
	content    string        // the content-only bundle once it is made; see contentBundle
	limits     []limit
}

// limit is a figure that must not be exceeded, and what it came to.
type limit struct {
	what     string
	unit     string
	most     float64
	measured float64
}

// exceeded is true as well for what could not be measured: NaN.
func (l limit) exceeded() bool { return !(l.measured <= l.most) }

// hold notes what a limited figure came to.
func (b *bench) hold(what string, measured, most float64, unit string) {
	b.limits = append(b.limits, limit{what: what, unit: unit, most: most, measured: measured})
}

// built returns the path of what the Makefile has built.
func (b *bench) built(path string) string { return filepath.Join(b.repository, path) }

// say tells what is going on, on stderr: stdout carries the tables alone.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == sha256Verb {
		exitIf(sha256File(os.Args[2]))
		return
	}
	if len(os.Args) == 4 && os.Args[1] == fetchVerb {
		exitIf(fetchBlobs(os.Args[2], os.Args[3]))
		return
	}
	b := &bench{}
	flag.IntVar(&b.runs, "runs", 3, "how `often` each topic is measured")
	flag.IntVar(&b.sizeMB, "size", 1200, "size of the content-only bundle in `MB`")
	flag.DurationVar(&b.window, "window", 2*time.Minute, "over which the processor time of a node at rest is counted")
	flag.DurationVar(&b.rest, "rest", leastRest, "how long a node rests before that; with less, the figures are those of its start")
	only := flag.String("only", "", "comma-separated `topics` to measure: "+topicNames())
	flag.Parse()
	chosen, err := choose(*only)
	if err == nil && (flag.NArg() > 0 || b.runs < 1 || b.sizeMB < 1 || b.window < time.Duration(b.runs)*time.Second) {
		err = errors.New("wrong arguments: -runs and -size are at least 1, -window a second for each run, and nothing follows the flags")
	}
	if err == nil && os.Geteuid() != 0 {
		err = errors.New("real nodes are installed: run this as root")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exitIf(b.measure(ctx, chosen))
}

// exitIf ends the program if there is an error.
func exitIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure runs the topics one after the other. A topic that fails does not keep the others from
// being measured; an interrupt does.
func (b *bench) measure(ctx context.Context, chosen []topic) (err error) {
	if b.repository, err = os.Getwd(); err != nil {
		return err
	}
	for _, path := range []string{packed, desk, "build/root/bin/airgap", "dist/system.airgap", "build/podinfo/chart"} {
		if _, err := os.Stat(b.built(path)); err != nil {
			return fmt.Errorf("%w: run `make bench` in the folder of the Makefile", err)
		}
	}
	// Not /tmp, which is memory on many machines: the disk is a part of what is measured.
	if b.work, err = os.MkdirTemp("/var/tmp", "ag-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, machines.RemoveAll(b.work)) }()
	facts, err := machineFacts(b)
	if err != nil {
		return err
	}
	fmt.Println(facts)
	var failures []error
	for _, t := range chosen {
		say("%s: %s", t.name, t.title)
		fmt.Printf("\n### %s\n\n", t.title)
		began := time.Now()
		if err := t.run(ctx, b); err != nil {
			fmt.Println("not measured: see the error")
			failures = append(failures, fmt.Errorf("%s: %w", t.name, err))
		}
		say("%s took %s", t.name, time.Since(began).Round(time.Second))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(failures, b.printLimits())...)
}

// printLimits prints the limited figures, and returns an error that names those exceeded.
func (b *bench) printLimits() error {
	if len(b.limits) == 0 {
		return nil
	}
	fmt.Printf("\n### Limits\n\n")
	var failures []error
	var rows [][]string
	for _, l := range b.limits {
		verdict := "holds"
		if l.exceeded() {
			verdict = "**exceeded**"
			failures = append(failures, fmt.Errorf("%s: %s, at most %s", l.what, exactly(l.measured, l.unit), exactly(l.most, l.unit)))
		}
		rows = append(rows, []string{l.what, exactly(l.most, l.unit), exactly(l.measured, l.unit), verdict})
	}
	printTable([]string{"What", "At most", "Median", ""}, rows)
	return errors.Join(failures...)
}

// choose returns the topics of a comma-separated list of names; all for an empty one.
func choose(names string) ([]topic, error) {
	if names == "" {
		return topics, nil
	}
	var chosen []topic
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(topics, func(t topic) bool { return t.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only %s: want %s", name, topicNames())
		}
		chosen = append(chosen, topics[i])
	}
	return chosen, nil
}

func topicNames() string {
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	return strings.Join(names, ", ")
}
