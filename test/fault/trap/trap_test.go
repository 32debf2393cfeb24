package trap

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// run runs script in a new folder and returns what was asked and said.
func run(t *testing.T, text string, o Options, decide func(Call) Answer) (calls []string, said string, err error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a filter of another program's calls")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// busybox runs its own applets in its own process
	cmd := exec.Command("busybox", "sh", "-c", text)
	var out strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	err = Start(cmd, o, func(c Call) Answer {
		name, err := filepath.Rel(dir, c.Path)
		if err != nil || strings.HasPrefix(name, "..") {
			t.Errorf("asked about %s of %s", c.Name, c.Path)
		}
		calls = append(calls, c.Name+" "+name)
		if decide == nil {
			return Answer{}
		}
		return decide(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	return calls, out.String(), err
}

func TestAsksBeforeEachChangeOfTheProcess(t *testing.T) {
	calls, said, err := run(t, `echo text > a; echo more >> a; (echo child > b); read x < a; echo $x`, Options{}, nil)
	if err != nil || said != "text\n" {
		t.Errorf("said %q, %v", said, err)
	}
	if want := []string{"create a", "write a", "create a", "write a"}; !slices.Equal(calls, want) {
		t.Errorf("asked about %q, want %q", calls, want)
	}
}

func TestAsksBeforeReads(t *testing.T) {
	calls, said, err := run(t, `echo text > a; read x < a; echo "got $x"`, Options{Reads: true}, func(c Call) Answer {
		if c.Name == "read" {
			return Answer{Errno: unix.EIO}
		}
		return Answer{}
	})
	if err != nil || !strings.Contains(said, "got \n") {
		t.Errorf("said %q, %v", said, err)
	}
	if !slices.Contains(calls, "read a") {
		t.Errorf("asked about %q", calls)
	}
}

func TestFails(t *testing.T) {
	_, said, err := run(t, `echo text > a && echo done; test -s a || echo empty`, Options{}, func(c Call) Answer {
		if c.Name == "write" {
			return Answer{Errno: unix.ENOSPC}
		}
		return Answer{}
	})
	if err != nil || !strings.Contains(said, "No space left on device") || strings.Contains(said, "done") || !strings.Contains(said, "empty") {
		t.Errorf("said %q, %v", said, err)
	}
}

func TestKills(t *testing.T) {
	_, said, err := run(t, `echo text > a; echo done`, Options{}, func(c Call) Answer {
		if c.Name == "write" {
			return Answer{Signal: unix.SIGKILL}
		}
		return Answer{}
	})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || said != "" {
		t.Errorf("said %q, %v; want it killed", said, err)
	}
}

func TestPathsOfFolders(t *testing.T) {
	cmds := map[string][]string{
		"busybox mv a b":    {"rename a"},
		"busybox mkdir d":   {"mkdir d"},
		"busybox ln -s x l": {"symlink l"},
		"busybox rm a":      {"unlink a"},
	}
	for line, want := range cmds {
		calls, _, _ := run(t, "echo > a; exec "+line, Options{}, nil)
		if got := calls[2:]; !slices.Equal(got, want) {
			t.Errorf("%s: asked about %q, want %q", line, got, want)
		}
	}
}
