package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	mostNodeReadySeconds = 15
	mostAddOnsSeconds    = 30
	mostInstallerMB      = 150
)

// demoSpec is the bundle with podinfo that the end-to-end tests install as well.
const demoSpec = `apiVersion: airgap/v1
kind: Bundle
metadata: {name: demo, version: 1.0.0}
spec:
  from: [SYSTEM]
  platforms: [linux/ARCH]
  images:
    - {source: "oci:BUILD/podinfo/image:localhost:5000/podinfo:6.9.2", name: "localhost:5000/podinfo:6.9.2"}
  charts:
    - {name: podinfo, chart: BUILD/podinfo/chart, namespace: demo, values: VALUES}
`

// installs are the figures of several installs of one bundle.
type installs struct {
	bundle    string
	bundleMB  float64
	steps     []string          // in order
	took      map[string]series // seconds of each step
	reached   map[string]series // seconds from the start of the command to the end of each step
	total     series            // seconds
	cpu       series            // seconds
	peakMB    series
	perByte   series // bytes written by the installer per byte of the bundle
	addOns    series // seconds until all packaged add-ons are Ready too
	uninstall series // seconds

	began time.Time // of the last run
}

// benchInstall installs podinfo on a bare machine, then brings the running node a large bundle, then
// uninstalls.
func benchInstall(ctx context.Context, b *bench) error {
	demoPath, err := b.demoBundle(ctx)
	if err != nil {
		return err
	}
	contentPath, err := b.contentBundle(ctx)
	if err != nil {
		return err
	}
	demo, err := newInstalls(demoPath)
	if err != nil {
		return err
	}
	content, err := newInstalls(contentPath)
	if err != nil {
		return err
	}
	for run := range b.runs {
		say("install: run %d of %d", run+1, b.runs)
		if err := b.installBoth(ctx, demo, content); err != nil {
			return err
		}
	}
	fmt.Printf("podinfo and the whole distribution, a bundle of %s, on a bare machine:\n\n", quantity(demo.bundleMB, "MB"))
	demo.print()
	fmt.Printf("\nThe content-only bundle of %s, on that node while it runs:\n\n", quantity(content.bundleMB, "MB"))
	content.print()
	b.hold("`install` to node Ready", demo.reached["node"].median(), mostNodeReadySeconds, "s")
	b.hold("`install` to all packaged add-ons Ready", demo.addOns.median(), mostAddOnsSeconds, "s")
	b.hold("peak memory of the installer, podinfo", demo.peakMB.median(), mostInstallerMB, "MB")
	b.hold("peak memory of the installer, "+quantity(content.bundleMB, "MB"), content.peakMB.median(), mostInstallerMB, "MB")
	return nil
}

// installBoth installs both bundles on one machine, and uninstalls.
func (b *bench) installBoth(ctx context.Context, demo, content *installs) (err error) {
	s, err := b.newSite()
	if err != nil {
		return err
	}
	defer s.end(&err)
	if err := demo.run(ctx, s); err != nil {
		return err
	}
	ready, err := s.awaitAddOns(ctx)
	if err != nil {
		return err
	}
	demo.addOns = append(demo.addOns, ready.Sub(demo.began).Seconds())
	if err := content.run(ctx, s); err != nil {
		return err
	}
	took, err := s.uninstall(ctx)
	demo.uninstall = append(demo.uninstall, took.seconds)
	return err
}

// demoBundle builds the bundle with podinfo.
func (b *bench) demoBundle(ctx context.Context) (string, error) {
	spec := strings.NewReplacer("SYSTEM", b.built("dist/system.airgap"), "BUILD", b.built("build"), "ARCH", runtime.GOARCH,
		"VALUES", b.built("test/e2e/testdata/podinfo-values.yaml")).Replace(demoSpec)
	file, bundle := filepath.Join(b.work, "demo.yaml"), filepath.Join(b.work, "demo.airgap")
	if err := os.WriteFile(file, []byte(spec), 0o600); err != nil {
		return "", err
	}
	_, err := output(b.command(ctx, b.built(packed), "build", "-f", file, "-o", bundle, "--key", b.built("dist/development.key")))
	return bundle, err
}

func newInstalls(bundle string) (*installs, error) {
	info, err := os.Stat(bundle)
	if err != nil {
		return nil, err
	}
	return &installs{bundle: bundle, bundleMB: float64(info.Size()) / 1e6, took: map[string]series{}, reached: map[string]series{}}, nil
}

// stepLine is what install prints when a step is done: "[ 3/12] import: 4 images (2.1 s)".
var stepLine = regexp.MustCompile(`^\[ *\d+/\d+\] ([a-z]+)(?:: .*)? \(\d+\.\d s\)$`)

// run installs the bundle once, with the executable and the bundle in the page cache.
func (i *installs) run(ctx context.Context, s *site) error {
	settle()
	if err := errors.Join(warm(s.b.built("bin/airgap")), warm(i.bundle)); err != nil {
		return err
	}
	var steps []string
	var before time.Duration
	i.began = time.Now()
	took, err := measured(s.install(ctx, i.bundle), func(text string, sinceStart time.Duration) {
		if match := stepLine.FindStringSubmatch(text); match != nil {
			name := match[1]
			steps = append(steps, name)
			i.took[name] = append(i.took[name], (sinceStart - before).Seconds())
			i.reached[name] = append(i.reached[name], sinceStart.Seconds())
			before = sinceStart
		}
	})
	if err != nil {
		return err
	}
	if len(i.reached["node"]) != len(i.total)+1 || len(i.reached["releases"]) != len(i.total)+1 {
		return fmt.Errorf("install printed no time for the steps node and releases, only for: %s", strings.Join(steps, ", "))
	}
	i.steps = steps
	i.total = append(i.total, took.seconds)
	i.cpu = append(i.cpu, took.cpuSeconds)
	i.peakMB = append(i.peakMB, took.peakMB)
	i.perByte = append(i.perByte, took.writtenBytes/1e6/i.bundleMB)
	return nil
}

func (i *installs) print() {
	rows := [][]string{
		{"**node Ready**, from the start of the command", i.reached["node"].in("s")},
		{"**releases Ready**, from the start of the command", i.reached["releases"].in("s")},
		{"the whole command", i.total.in("s")},
		{"processor time of the installer", i.cpu.in("s")},
		{"peak memory of the installer", i.peakMB.in("MB")},
		{"written by the installer, per byte of the bundle", i.perByte.in("")},
	}
	if len(i.addOns) > 0 {
		rows = slices.Insert(rows, 2, []string{"**all packaged add-ons Ready**, from the start of the command", i.addOns.in("s")})
	}
	if len(i.uninstall) > 0 {
		rows = append(rows, []string{"uninstall, all of it", i.uninstall.in("s")})
	}
	for n, name := range i.steps {
		title := "step " + name
		if n == 0 {
			title += ", with the start of the executable"
		}
		rows = append(rows, []string{title, i.took[name].in("s")})
	}
	printTable([]string{"What", "Median (minimum–maximum)"}, rows)
}
