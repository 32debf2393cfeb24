package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

const (
	// benchParts is how many parts the bundle is cut into.
	benchParts = 4
	// mostPartsRatio is how much longer a bundle in parts may take to read than the same one whole: the noise of paired runs.
	mostPartsRatio = 1.05
)

// benchMedia compares the reading of one bundle from several media. Everything that is read is in the page cache.
func benchMedia(ctx context.Context, b *bench) error {
	whole, err := b.contentBundle(ctx)
	if err != nil {
		return err
	}
	info, err := os.Stat(whole)
	if err != nil {
		return err
	}
	parts, folder := filepath.Join(b.work, "parts.airgap"), filepath.Join(b.work, "folder")
	executable, key := b.built(packed), b.built("dist/development.pub")
	run := func(arguments ...string) *exec.Cmd {
		return b.command(ctx, executable, append(arguments, "--key", key)...)
	}
	size := strconv.FormatInt((info.Size()+benchParts-1)/benchParts, 10)
	for _, prepare := range []*exec.Cmd{run("split", whole, "-o", parts, "--size", size), run("pull", whole, "-o", folder+"/")} {
		if _, err := output(prepare); err != nil {
			return err
		}
	}
	verify := func(location string) func() *exec.Cmd { return func() *exec.Cmd { return run("verify", location) } }
	file := &contender{title: "one file", command: verify(whole)}
	cut := &contender{title: fmt.Sprintf("%d parts", benchParts), command: verify(parts)}
	all := []*contender{file, cut,
		{title: "a folder", command: verify(folder)},
		{title: "standard input, from `cat`", command: func() *exec.Cmd {
			return b.command(ctx, "sh", "-c", `cat "$1" | "$2" verify - --key "$3"`, "sh", whole, executable, key)
		}},
	}
	for n := range b.runs {
		say("media: run %d of %d", n+1, b.runs)
		order := slices.Clone(all)
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			if err := b.contend(c, whole, filepath.Join(b.work, "nothing")); err != nil {
				return err
			}
		}
	}
	fmt.Printf("`airgap verify` of a content-only bundle of %s.\n\n", quantity(float64(info.Size())/1e6, "MB"))
	var rows [][]string
	for _, c := range all {
		rows = append(rows, []string{c.title, c.seconds.in("s"), ratios(c.seconds, file.seconds).in("×"), c.peakMB.in("MB")})
	}
	printTable([]string{"From", "Time", "÷ one file", "Peak memory"}, rows)
	b.hold(fmt.Sprintf("`airgap verify` of %d parts ÷ of one file", benchParts), ratios(cut.seconds, file.seconds).median(), mostPartsRatio, "×")
	left, err := filepath.Glob(parts + ".*")
	for _, part := range left {
		err = errors.Join(err, os.Remove(part))
	}
	return errors.Join(err, os.RemoveAll(folder))
}
