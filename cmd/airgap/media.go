package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/internal/blobcache"
)

// bundleHelp says what BUNDLE can be, for the verbs that read one.
const bundleHelp = `BUNDLE is a file or a folder; the first of several parts (site.airgap.001, or site.airgap); - for standard input; or
https://host/site.airgap or oci://host/repository:tag. It is read once, where it lies. A part that lies elsewhere is
looked for in the folders of --parts-in, or asked for on a terminal.`

// mediaFlags are the flags of verbs that read a bundle.
type mediaFlags struct {
	partsIn []string
	cache   *blobcache.Cache // of verbs that have one; else nil
}

func (m *mediaFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&m.partsIn, "parts-in", nil, "`folder` where parts of the bundle are that do not lie beside the first (repeatable)")
}

// options are what package media needs to open location.
func (m *mediaFlags) options(e *env, location string) (media.Options, error) {
	options := media.Options{Stdin: e.stdin, PartsIn: m.partsIn, Cache: m.cache}
	switch terminal := isTerminal(e.stdin); {
	case terminal && location == media.Stdin:
		return options, withHint(&usageError{errors.New("standard input is a terminal, and no bundle comes from it")}, "pipe one in: ssh desk cat site.airgap | airgap …")
	case terminal:
		options.Ask = e.askForPart
	}
	return options, nil
}

// openBundle opens the bundle that was named on the command line.
func (e *env) openBundle(ctx context.Context, location string, trust bundle.Trust, m *mediaFlags) (*bundle.Reader, error) {
	options, err := m.options(e, location)
	if err != nil {
		return nil, err
	}
	reader, err := media.Open(ctx, location, trust, options)
	return reader, missingBundle(err, location)
}

// missingBundle makes the absence of what was named on the command line an error of usage.
func missingBundle(err error, location string) error {
	switch {
	case errors.Is(err, media.ErrNotFirst), errors.Is(err, media.ErrReference):
		return &usageError{err}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case media.IsPath(location):
		return withHint(&usageError{err}, "is the stick mounted?")
	default:
		return withHint(&usageError{err}, "look at the address")
	}
}

// askForPart asks whoever sits at the terminal for the medium with a part, and returns the folder that was typed.
func (e *env) askForPart(ctx context.Context, want media.MissingPart) (string, error) {
	e.drawn.Pause()
	defer e.drawn.Resume()
	fmt.Fprintln(e.stderr)
	if want.Reason != nil {
		fmt.Fprintf(e.stderr, "%v\n", want.Reason)
	}
	of := ""
	if want.Count > 0 {
		of = fmt.Sprintf(" of %d", want.Count)
	}
	fmt.Fprintf(e.stderr, "Wanted: %s, part %d%s, which is not in %s\nInsert the medium that has it and press Enter, or type the folder that it is in: ",
		want.Name, want.Number, of, strings.Join(want.In, ", "))
	line, err := readLine(ctx, e.stdin)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s is missing, and nobody has said where it is", want.Name)
	}
	return strings.TrimSpace(line), err
}

// readLine reads one line, unless ctx is done before it has come.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	came := make(chan result, 1)
	go func() {
		line, err := bufio.NewReaderSize(oneByte{in}, 16).ReadString('\n')
		came <- result{line, err}
	}()
	select {
	case r := <-came:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// oneByte reads a byte at a time, so that nothing after the line is taken.
type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:1]) }

// parseSize reads a size in bytes, which may be 0: 4g is 4 000 000 000, 4gi (or 4gib) 2³².
func parseSize(text string) (int64, error) {
	parse, lower := units.FromHumanSize, strings.ToLower(text)
	if strings.HasSuffix(lower, "i") {
		lower += "b"
	}
	if strings.HasSuffix(lower, "ib") {
		parse = units.RAMInBytes
	}
	size, err := parse(lower)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("%q: want a size in bytes, as in 700m, 4g or 4gi", text)
	}
	return size, nil
}

// addSplitFlag adds --split.
func addSplitFlag(cmd *cobra.Command, size *string) {
	cmd.Flags().StringVar(size, "split", "", "cut the bundle into parts of this `size`, named .001, .002 and so on: 4g, just below what FAT32 takes, or 700m")
}

// splitSize is what --split says; 0 without it.
func splitSize(text, output string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if strings.HasSuffix(output, "/") {
		return 0, &usageError{errors.New("--split with a folder: a folder is files already")}
	}
	return partSize("--split", text)
}

// partSize is the size of parts that a flag says.
func partSize(flag, text string) (int64, error) {
	size, err := parseSize(text)
	if err == nil && size == 0 {
		err = fmt.Errorf("%q: a part has at least one byte", text)
	}
	if err != nil {
		return 0, &usageError{fmt.Errorf("%s %w", flag, err)}
	}
	return size, nil
}

// fileSizeHint says how a bundle gets onto a file system that takes no file of its size.
func fileSizeHint(err error) error {
	if errors.Is(err, bundle.ErrFileTooLarge) {
		return withHint(err, "cut it into parts: --split 4g")
	}
	return err
}
