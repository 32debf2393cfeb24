package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/internal/payload"
	"airgap/internal/program"
)

// inner is each of the payload's programs: it says how it was started.
const inner = `#!/bin/sh
echo "exe=$AIRGAP_EXECUTABLE"
echo "root=${0%/bin/*}"
echo "program=${0##*/}"
for a in "$@"; do echo "arg=$a"; done
exit 42
`

// packed builds the real launcher and packs it with inner.
func packed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	launcher := filepath.Join(dir, "launcher")
	build := exec.Command("go", "build", "-o", launcher, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bin := filepath.Join(dir, "root", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{program.Whole, program.Desk} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(inner), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "runc"), make([]byte, 1<<20), 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(launcher)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	if _, err := payload.Pack(&out, in, filepath.Join(dir, "root"), payload.Zstd); err != nil {
		t.Fatal(err)
	}
	executable := filepath.Join(dir, "airgap")
	if err := os.WriteFile(executable, out.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return executable
}

// start runs the executable and returns what it said and its exit code.
func start(t *testing.T, env []string, executable string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(executable, args...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestLaunch(t *testing.T) {
	executable := packed(t)
	data := t.TempDir()
	p, err := payload.Open(executable)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// As root the data folder decides, as anyone else the cache folder.
	env := []string{"AIRGAP_DATA_DIR=" + data, "XDG_CACHE_HOME=" + data, "HOME=" + data}
	versions := places([]string{"airgap"}, getenv(env), os.Geteuid())[0].dir
	root := filepath.Join(versions, p.Digest())

	for _, run := range []string{"first", "again"} {
		stdout, stderr, code := start(t, env, executable, "verify", "a b", "--flag=x")
		want := "exe=" + executable + "\nroot=" + root + "\nprogram=airgap-desk\narg=verify\narg=a b\narg=--flag=x\n"
		if stdout != want || stderr != "" || code != 42 {
			t.Errorf("%s: exit %d, stderr %q, stdout\n%s\nwant\n%s", run, code, stderr, stdout, want)
		}
	}

	t.Run("a staged executable uses its own tree", func(t *testing.T) {
		dir, err := payload.Stage(executable, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		stdout, _, _ := start(t, []string{"HOME=/nonexistent", "AIRGAP_DATA_DIR=/nonexistent"}, filepath.Join(dir, "airgap"))
		if want := "exe=" + dir + "/airgap\nroot=" + dir + "\nprogram=airgap\n"; stdout != want {
			t.Errorf("got\n%s\nwant\n%s", stdout, want)
		}
	})

	t.Run("damaged", func(t *testing.T) {
		data, err := os.ReadFile(executable)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-200] ^= 1
		bad := filepath.Join(t.TempDir(), "airgap")
		if err := os.WriteFile(bad, data, 0o755); err != nil {
			t.Fatal(err)
		}
		elsewhere := t.TempDir()
		_, stderr, code := start(t, []string{"AIRGAP_DATA_DIR=" + elsewhere, "XDG_CACHE_HOME=" + elsewhere}, bad, "version")
		if code != 1 || !strings.Contains(stderr, bad) || !strings.Contains(stderr, "hint: copy the executable again") {
			t.Errorf("exit %d: %s", code, stderr)
		}
	})
}

// TestNoSpace unpacks to a file system that is too small, in a mount namespace of its own.
func TestNoSpace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	executable, mount := packed(t), t.TempDir()
	script := `mount -t tmpfs -o size=4k tmpfs "$1" && exec "$0" version --data-dir "$1"/x`
	cmd := exec.Command("/bin/sh", "-c", script, executable, mount)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no space left") || !strings.Contains(string(out), "--data-dir") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPlaces(t *testing.T) {
	env := []string{"HOME=/home/u"}
	tests := map[string]struct {
		args []string
		env  []string
		uid  int
		want string
	}{
		"root":                  {nil, env, 0, "/var/lib/airgap/data, /home/u/.cache/airgap/data"},
		"root, data dir":        {[]string{"server", "--data-dir", "/d"}, env, 0, "/d/data"},
		"root, =":               {[]string{"server", "--data-dir=/d", "x"}, env, 0, "/d/data"},
		"root, short":           {[]string{"server", "-d", "/d"}, env, 0, "/d/data"},
		"root, environment":     {[]string{"server"}, []string{"AIRGAP_DATA_DIR=/e"}, 0, "/e/data"},
		"flag over environment": {[]string{"server", "-d=/d"}, []string{"AIRGAP_DATA_DIR=/e"}, 0, "/d/data"},
		"value missing":         {[]string{"server", "-d"}, env, 0, "/var/lib/airgap/data, /home/u/.cache/airgap/data"},
		"after --":              {[]string{"x", "--", "-d", "/d"}, env, 0, "/var/lib/airgap/data, /home/u/.cache/airgap/data"},
		"a client's -d":         {[]string{"helm", "pull", "-d", "/d"}, env, 0, "/var/lib/airgap/data, /home/u/.cache/airgap/data"},
		"user":                  {[]string{"build", "-d", "/d"}, env, 1000, "/home/u/.cache/airgap/data"},
		"user with cache":       {nil, []string{"HOME=/home/u", "XDG_CACHE_HOME=/c"}, 1000, "/c/airgap/data"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range places(append([]string{"airgap"}, test.args...), getenv(test.env), test.uid) {
				got = append(got, p.dir)
			}
			if s := strings.Join(got, ", "); s != test.want {
				t.Errorf("got %s, want %s", s, test.want)
			}
		})
	}
	if got := dataDir([]string{"/usr/bin/kubectl", "-d", "/d"}); got != "" {
		t.Errorf("called as kubectl, -d is not ours: %s", got)
	}
}

func getenv(env []string) func(string) string {
	return func(name string) string {
		i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if i < 0 {
			return ""
		}
		return env[i][len(name)+1:]
	}
}

// TestSupervise runs the real thing: a command that is killed comes back, and one TERM to the
// supervisor ends both.
func TestSupervise(t *testing.T) {
	executable, dir := packed(t), t.TempDir()
	pidFile, logFile, runs := filepath.Join(dir, "pid"), filepath.Join(dir, "log"), filepath.Join(dir, "runs")
	cmd := exec.Command(executable, "supervise", "--pid-file", pidFile, "--log", logFile, "--",
		"/bin/sh", "-c", `echo $$ >>"$0"; trap 'exit 1' TERM; while :; do sleep 0.02; done`, runs)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	pids := func(n int) []string {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			data, _ := os.ReadFile(runs)
			if list := strings.Fields(string(data)); len(list) >= n {
				return list
			}
		}
		t.Fatalf("the command was not started %d times", n)
		return nil
	}
	first := pids(1)[0]
	if out, err := exec.Command("kill", "-9", first).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	second := pids(2)[1]

	if _, stderr, code := start(t, nil, executable, "supervise", "--pid-file", pidFile, "--log", logFile, "--", "/bin/true"); code != 1 || !strings.Contains(stderr, "running already") {
		t.Errorf("a second supervisor: exit %d, %s", code, stderr)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("stopped supervisor: %v", err)
	}
	if _, err := os.Stat("/proc/" + second); err == nil {
		t.Error("the command outlived its supervisor")
	}
	if _, err := os.Stat(pidFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pid file is still there: %v", err)
	}
	log, err := os.ReadFile(logFile)
	if err != nil || !strings.Contains(string(log), "signal: killed") || !strings.Contains(string(log), "stopped as asked") {
		t.Errorf("%v, log:\n%s", err, log)
	}

	if _, stderr, code := start(t, nil, executable, "supervise", "--log", logFile); code != 2 || !strings.Contains(stderr, "Usage:") {
		t.Errorf("wrong usage: exit %d, %s", code, stderr)
	}
}
