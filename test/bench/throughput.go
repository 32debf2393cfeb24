package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
)

const (
	// sha256Verb makes this program hash one file with Go's crypto/sha256 and do nothing else: the yardstick.
	sha256Verb = "sha256"
	// mostVerifyRatio is how much longer than the yardstick verify may take, beyond the start of its executable.
	mostVerifyRatio = 1.1
	// mostDeskMB bounds the resident memory of build and verify, the executable's own pages and all.
	mostDeskMB = 64
	// mostInspectMilliseconds is how long the verb may take beyond the start of its executable, whatever the bundle's size.
	mostInspectMilliseconds = 50
)

// sha256File is the yardstick: a file read once and hashed on all cores, each of which has its share of it.
func sha256File(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	cores := int64(runtime.GOMAXPROCS(0))
	shares := make([]error, cores)
	var group sync.WaitGroup
	for i := range cores {
		from, to := info.Size()*i/cores, info.Size()*(i+1)/cores
		group.Go(func() {
			share := struct{ io.Reader }{io.NewSectionReader(file, from, to-from)}
			_, shares[i] = io.CopyBuffer(sha256.New(), share, make([]byte, 1<<20))
		})
	}
	group.Wait()
	return errors.Join(shares...)
}

// contender is one of the processes that are compared.
type contender struct {
	title     string
	command   func() *exec.Cmd
	seconds   series
	peakMB    series
	writtenMB series // to files on disks
}

// benchThroughput compares build, verify and inspect with sha256 of the same bytes. Everything that is read
// is in the page cache.
func benchThroughput(ctx context.Context, b *bench) error {
	bundle, err := b.contentBundle(ctx)
	if err != nil {
		return err
	}
	info, err := os.Stat(bundle)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	run := func(title, executable string, arguments ...string) *contender {
		return &contender{title: title, command: func() *exec.Cmd { return b.command(ctx, b.built(executable), arguments...) }}
	}
	again := filepath.Join(b.work, "again.airgap")
	sha := &contender{title: "sha256 of the bundle on all cores (Go's crypto/sha256)", command: func() *exec.Cmd { return b.command(ctx, self, sha256Verb, bundle) }}
	verify := run("`airgap verify`", packed, "verify", bundle, "--key", b.built("dist/development.pub"))
	direct := run("`airgap verify`, started without the launcher", desk, "verify", bundle, "--key", b.built("dist/development.pub"))
	build := &contender{title: "`airgap build` from an OCI layout, output synced", command: func() *exec.Cmd { return b.buildContent(ctx, again) }}
	start := run("`airgap schema`: the start of the executable", packed, "schema")
	inspect := run("`airgap inspect`", packed, "inspect", bundle)
	all := []*contender{sha, start, verify, direct, inspect, build}
	// The first start of the packed executable unpacks it, once for all.
	if _, err := output(b.command(ctx, b.built(packed), "version")); err != nil {
		return err
	}
	for run := range b.runs {
		say("throughput: run %d of %d", run+1, b.runs)
		order := slices.Clone(all)
		if run%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			if err := b.contend(c, bundle, again); err != nil {
				return err
			}
		}
	}
	size := float64(info.Size()) / 1e6
	fmt.Printf("A content-only bundle of %s, %d images of %d layers.\n\n", quantity(size, "MB"), contentImages, layersPerImage)
	var rows [][]string
	for _, c := range all {
		rows = append(rows, []string{c.title, c.seconds.in("s"), c.seconds.rate(size).in(""), ratios(c.seconds, sha.seconds).in("×"), c.peakMB.in("MB")})
	}
	printTable([]string{"What", "Time", "MB/s", "÷ sha256", "Peak memory"}, rows)
	b.hold("`airgap verify` beyond its start ÷ sha256 on all cores", ratios(beyond(verify.seconds, start.seconds), sha.seconds).median(), mostVerifyRatio, "×")
	b.hold("peak memory of `airgap verify`", verify.peakMB.median(), mostDeskMB, "MB")
	b.hold("peak memory of `airgap build` from an OCI layout", build.peakMB.median(), mostDeskMB, "MB")
	b.hold("`airgap inspect` beyond its start", beyond(inspect.seconds, start.seconds).scaled(1000).median(), mostInspectMilliseconds, "ms")
	return nil
}

// beyond is what each of whole takes longer than the part measured in the same run.
func beyond(whole, part series) series {
	list := make(series, len(whole))
	for i := range whole {
		list[i] = whole[i] - part[i]
	}
	return list
}

// contend measures a contender once. What a build has written does not stay.
func (b *bench) contend(c *contender, bundle, again string) error {
	settle()
	if err := warm(bundle); err != nil {
		return err
	}
	took, err := measured(c.command(), nil)
	if err != nil {
		return err
	}
	c.seconds = append(c.seconds, took.seconds)
	c.peakMB = append(c.peakMB, took.peakMB)
	c.writtenMB = append(c.writtenMB, took.writtenBytes/1e6)
	return os.RemoveAll(again)
}
