package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"airgap/bundle"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"airgap": func() { os.Exit(run(os.Args)) },
	})
}

// TestScripts runs testdata/script/*.txtar: the command line as its user sees it. Beside testscript's own
// commands there are
//
//	exits CODE PROGRAM ARGS…       run a program that must end with that exit code
//	push REFERENCE PLATFORM…       push an image to the registry; several platforms make an index
//	layout FOLDER TAG PLATFORM…    write an image as an OCI layout
//	archive FILE REFERENCE         write an image as `docker save` of old does
//	unsigned FILE                  write a bundle that nobody signed
//	delete REFERENCE               delete an image from the registry, by what its tag means
//	expand FILE…                   put the values of ${VARIABLES} into files
//	flip FILE OFFSET               invert the bits of a byte; an offset below 0 counts from the end
//	cut FILE SIZE                  shorten a file; a size below 0 takes that much off
//
// and each script has a registry of its own, at $REGISTRY, and a server that never answers, at $SILENT,
// whose port is $SILENT_PORT.
func TestScripts(t *testing.T) {
	// A data folder's path is bounded; that of the tests' folder, which is under $TMPDIR, is not.
	work, err := os.MkdirTemp("/tmp", "ag")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	testscript.Run(t, testscript.Params{
		Dir:         "testdata/script",
		WorkdirRoot: work,
		Setup: func(env *testscript.Env) error {
			server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
			env.Defer(server.Close)
			env.Setenv("REGISTRY", strings.TrimPrefix(server.URL, "http://"))
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { silent.Close() })
			env.Setenv("SILENT", silent.Addr().String())
			env.Setenv("SILENT_PORT", strconv.Itoa(silent.Addr().(*net.TCPAddr).Port))
			env.Setenv("COSIGN_PASSWORD", "of the tests")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TMPDIR", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "push": push, "layout": writeLayout, "archive": writeArchive, "unsigned": unsigned,
			"delete": deleteImage, "attach": attach, "readenv": readEnvironment, "expand": expand, "flip": flip, "cut": cut,
		},
		Condition: func(condition string) (bool, error) {
			if condition == "mounts" { // may this process mount? (root in most containers may not)
				return exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt").Run() == nil, nil
			}
			if condition == "node" { // is the node in this program? (not with the tag desk)
				return listCertificates != nil, nil
			}
			return false, fmt.Errorf("no condition %q", condition)
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// readEnvironment puts the contents of a file into a variable.
func readEnvironment(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], ts.ReadFile(args[1]))
}

func unsigned(ts *testscript.TestScript, _ bool, args []string) {
	_, err := bundle.Create(context.Background(), ts.MkAbs(args[0]), bundle.Content{Manifest: bundle.Manifest{
		Name: "site-a", Version: "1.0.0", Platforms: []string{"linux/amd64"}, IssuedAt: "2026-01-01T00:00:00Z",
	}}, bundle.CreateOptions{})
	ts.Check(err)
}

func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		file = ts.MkAbs(file)
		data, err := os.ReadFile(file)
		ts.Check(err)
		ts.Check(os.WriteFile(file, []byte(os.Expand(string(data), ts.Getenv)), 0o644))
	}
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	file, offset := ts.MkAbs(args[0]), number(ts, args[1])
	data, err := os.ReadFile(file)
	ts.Check(err)
	if offset < 0 {
		offset += len(data)
	}
	data[offset] ^= 0xff
	ts.Check(os.WriteFile(file, data, 0o644))
}

func cut(ts *testscript.TestScript, _ bool, args []string) {
	file, size := ts.MkAbs(args[0]), number(ts, args[1])
	if size < 0 {
		info, err := os.Stat(file)
		ts.Check(err)
		size += int(info.Size())
	}
	ts.Check(os.Truncate(file, int64(size)))
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}
