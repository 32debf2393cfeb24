package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	machines "airgap/test/site"
)

// suite is a part of Kubernetes' end-to-end specs that a node has to pass.
type suite struct {
	name  string
	title string
	mark  string // in the names of its specs
}

var (
	conformance = suite{"conformance", "Conformance", "[Conformance]"}
	netpol      = suite{"netpol", "NetworkPolicy", "[Feature:NetworkPolicy]"}
	suites      = []suite{conformance, netpol}
)

// suiteOf returns the suite of a spec; the zero suite if it is in none.
func suiteOf(spec string) suite {
	for _, s := range suites {
		if strings.Contains(spec, s.mark) {
			return s
		}
	}
	return suite{}
}

// program is the compiled suite and what it takes to run it.
type program struct {
	repository string // the checkout
	test       string // k8s.io/kubernetes/test/e2e, compiled
	ginkgo     string // runs it in several processes
	bundle     string
	airgap     string // packed, as a user has it
	client     string // unpacked: kubectl starts by the hundred
}

func newProgram(repository string) (*program, error) {
	built := func(path string) string { return filepath.Join(repository, path) }
	p := &program{
		repository: repository,
		test:       built("build/conformance/e2e.test"),
		ginkgo:     built("build/conformance/ginkgo"),
		bundle:     built("build/conformance/conformance.airgap"),
		airgap:     built("bin/airgap"),
		client:     built("build/root/bin/airgap"),
	}
	for _, file := range []string{p.test, p.ginkgo, p.bundle, p.airgap, p.client} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("%w: run `make conformance` in the folder of the Makefile", err)
		}
	}
	return p, nil
}

// listed is a line of --list-tests: "    network/dns.go:52: [sig-network] DNS should …".
var listed = regexp.MustCompile(`^ +\S+:\d+: (.*)$`)

// list returns the names of all specs of the suites, sorted.
func (p *program) list(ctx context.Context) ([]string, error) {
	out, err := machines.Output(exec.CommandContext(ctx, p.test, "--list-tests"))
	if err != nil {
		return nil, err
	}
	var specs []string
	for line := range strings.Lines(out) {
		if match := listed.FindStringSubmatch(strings.TrimSuffix(line, "\n")); match != nil && suiteOf(match[1]).name != "" {
			specs = append(specs, match[1])
		}
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("%s --list-tests names no spec with %s: its output has changed", p.test, conformance.mark)
	}
	return specs, nil
}

// run installs a node, runs the specs against it and returns what came of them, also with an error.
// Specs that did not come to run are left out.
func (p *program) run(ctx context.Context, specs []string, o *options) (came map[string]outcome, err error) {
	results, err := filepath.Abs(o.results)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(results, time.Now().UTC().Format("20060102-150405"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	s, err := newSite(p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.remove(filepath.Join(folder, "node.log"))) }()
	began := time.Now()
	if err := s.install(ctx); err != nil {
		return nil, err
	}
	say("the node is ready after %.1f s; the suite's log is %s", time.Since(began).Seconds(), filepath.Join(folder, "suite.log"))

	suiteErr := p.suite(ctx, s, specs, o, folder)
	came, readErr := readJUnit(filepath.Join(folder, "junit_01.xml"))
	var exit *exec.ExitError
	if errors.As(suiteErr, &exit) && readErr == nil {
		suiteErr = nil // specs failed, and the report says which
	}
	return came, errors.Join(suiteErr, readErr)
}

// suite runs the specs through ginkgo. Its error says that specs failed, or that the suite did not run.
func (p *program) suite(ctx context.Context, s *site, specs []string, o *options, folder string) error {
	// ginkgo interrupts what runs when the time is over; this is for a suite that does not listen.
	const grace = 5 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, o.limit+grace)
	defer cancel()
	kubectl := filepath.Join(s.whole.Folder, "kubectl")
	if err := os.Symlink(p.client, kubectl); err != nil {
		return err
	}
	args := []string{"--procs=" + strconv.Itoa(o.procs), "--timeout=" + o.limit.String(), "--no-color", "--silence-skips"}
	for _, spec := range specs {
		args = append(args, "--focus="+regexp.QuoteMeta(spec)+"$")
	}
	args = append(args, p.test, "--",
		"--kubeconfig="+s.Paths.Kubeconfig(),
		"--provider=skeleton",
		"--num-nodes=1",
		"--kubectl-path="+kubectl,
		"--kubelet-root-dir="+s.Paths.Kubelet(),
		"--container-runtime-endpoint=unix://"+s.Paths.ContainerdSocket(),
		"--report-dir="+folder,
		"--e2e-output-dir="+folder,
		"--disable-log-dump",
	)
	log, err := os.Create(filepath.Join(folder, "suite.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.Command(ctx, p.ginkgo, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ginkgo: %w: see %s", err, log.Name())
	}
	return nil
}
