package support

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
	"airgap/node/config"
)

const (
	// DefaultTimeout bounds the whole.
	DefaultTimeout = 3 * time.Minute
	// commandTimeout bounds one command.
	commandTimeout = 25 * time.Second
	// apiTimeout is what kubectl waits for the API server.
	apiTimeout = "10s"
)

// Options is what an archive is made of.
type Options struct {
	DataDir    string        // of the node
	Executable string        // airgap, whose verbs tell how the node is
	Output     string        // file of the archive, or a folder for it; "-" is Stdout
	Stdout     io.Writer     // for the archive, if Output is "-"
	Progress   func(string)  // told what is being gathered; may be nil
	Now        time.Time     // of the archive
	Timeout    time.Duration // 0: DefaultTimeout
	Host       hostinfo.Host // zero: this machine

	paths config.Paths
}

// item is one file of the archive, or several in a folder.
type item struct {
	name  string // of the file in the archive, or of the folder, which ends in a slash
	about string // for the index
	add   func(ctx context.Context, a *archive, name string) error
}

// Result is what was written.
type Result struct {
	File  string // empty: standard output
	Bytes int64
	Notes int // how many things could not be had, or were cut short
}

// Write gathers everything into one archive. An error means that there is no archive: what cannot be had is
// noted in it.
func Write(ctx context.Context, o Options) (Result, error) {
	if o.Host.FS == nil {
		o.Host = hostinfo.This()
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	o.paths = config.PathsOf(o.DataDir)
	root := archiveName(o.Now)
	if o.Output == "-" {
		counter := &countingWriter{w: o.Stdout}
		notes, err := o.gather(ctx, counter, root)
		return Result{Bytes: counter.n, Notes: notes}, err
	}
	file := o.Output
	if info, err := os.Stat(file); file == "" || err == nil && info.IsDir() {
		file = filepath.Join(file, root+".tar.gz")
	}
	temporary := file + ".part"
	out, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return Result{}, err
	}
	counter := &countingWriter{w: out}
	notes, err := o.gather(ctx, counter, root)
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(temporary, file)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(file)) // the stick may be pulled out at once
	}
	if err != nil {
		_ = os.Remove(temporary)
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w; %s has %d MB free, and the archive needs more: name another disk with --output", err, filepath.Dir(file), freeMegabytes(file))
		}
		return Result{}, fmt.Errorf("%s: %w", file, err)
	}
	return Result{File: file, Bytes: counter.n, Notes: notes}, nil
}

// archiveName is airgap-support-<host>-<time>.
func archiveName(now time.Time) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unnamed"
	}
	clean := strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, host)
	return "airgap-support-" + clean + "-" + now.UTC().Format("20060102T150405Z")
}

// gather writes the archive; its error is one of writing, or of ctx.
func (o *Options) gather(ctx context.Context, w io.Writer, root string) (notes int, err error) {
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	s := newScrubber()
	a := newArchive(w, root, o.Now, s)
	learnSecrets(s, o.paths)
	if err := learnCluster(limited, s, o); err != nil {
		a.note("the cluster's Secrets could not be read (%v): what looks like a secret is hidden all the same", firstLine(err.Error()))
	}
	items := o.items()
	if err := a.add("index.txt", o.index(items)); err != nil {
		return 0, err
	}
	for _, it := range items {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if limited.Err() != nil {
			a.note("%s: left out, the time was up", it.name)
			continue
		}
		o.Progress(it.name)
		if err := it.add(limited, a, it.name); err != nil {
			return 0, err
		}
	}
	notes = len(a.notes)
	return notes, a.close()
}

// index is what somebody reads first who has never seen such an archive.
func (o *Options) index(items []item) []byte {
	var text bytes.Buffer
	host, _ := os.Hostname()
	fmt.Fprintf(&text, `What airgap support found on the machine %s at %s.

airgap runs Kubernetes on machines without a network. This archive is for somebody who helps with one of them. It has no
keys, tokens or passwords. What could not be had, or was cut short, is in notes.txt. Begin with status.txt: its PROBLEMS
are what the machine itself knows to be wrong.

Data folder of the node: %s

`, host, o.Now.UTC().Format(time.RFC3339), o.paths.DataDir)
	for _, it := range items {
		fmt.Fprintf(&text, "%-32s %s\n", it.name, it.about)
	}
	fmt.Fprintf(&text, "%-32s %s\n", "notes.txt", "what is missing here, and why")
	return text.Bytes()
}

// run runs a command for what it prints. A command that fails has printed what it could.
func (o *Options) run(ctx context.Context, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "AIRGAP_DATA_DIR="+o.paths.DataDir, "LC_ALL=C", "NO_COLOR=1", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
	cmd.WaitDelay = time.Second
	out, problems := &tail{max: maxFileBytes}, &tail{max: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, problems
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %s", commandTimeout)
	}
	if err != nil && len(problems.bytes()) > 0 {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(problems.bytes()))
	}
	return out.bytes(), err
}

// command is the output of a command; its failure is part of it.
func (o *Options) command(argv ...string) func(context.Context, *archive, string) error {
	return func(ctx context.Context, a *archive, name string) error {
		if _, err := exec.LookPath(argv[0]); err != nil {
			a.note("%s: this machine has no %s", name, argv[0])
			return nil
		}
		out, err := o.run(ctx, argv...)
		if err != nil {
			a.note("%s: %v", name, firstLine(err.Error()))
			out = fmt.Appendf(out, "\n%s ended with: %v\n", filepath.Base(argv[0]), err)
		}
		return a.add(name, out)
	}
}

// airgap is the output of one of airgap's own verbs.
func (o *Options) airgap(args ...string) func(context.Context, *archive, string) error {
	return o.command(append([]string{o.Executable}, args...)...)
}

// text is what a function finds out about the machine itself.
func text(write func(w io.Writer) error) func(context.Context, *archive, string) error {
	return func(_ context.Context, a *archive, name string) error {
		out := &tail{max: maxFileBytes}
		if err := write(out); err != nil {
			a.note("%s: %v", name, err)
		}
		return a.add(name, out.bytes())
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// countingWriter counts what passes.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems of sticks cannot
		return err
	}
	return nil
}

func freeMegabytes(path string) uint64 {
	var fs unix.Statfs_t
	if unix.Statfs(filepath.Dir(path), &fs) != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize) / 1e6
}
