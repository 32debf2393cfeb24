package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inside makes this program the first process of a sandbox; its arguments are the folder, a folder with a layer and one that is seen.
const inside = "AIRGAP_TEST_SANDBOX"

func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(m.Run())
	}
	if err := live(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// live is what the first process of a sandbox does, and looks at.
func live(folder, layered, shown string) error {
	seen, err := Enter(Options{Folder: folder, Layered: []string{layered, "/no such folder"}, Seen: []string{shown}})
	if err != nil {
		return err
	}
	var wrong []error
	want := func(what string, is bool) {
		if !is {
			wrong = append(wrong, fmt.Errorf("not so: %s", what))
		}
	}
	old, err := os.ReadFile(filepath.Join(layered, "file"))
	want("what is below a layer can be read", err == nil && string(old) == "old")
	wrong = append(wrong, os.WriteFile(filepath.Join(layered, "file"), []byte("new"), 0o600), os.WriteFile("/run/mark", nil, 0o600))
	data, err := os.ReadFile(filepath.Join(seen[0], "file"))
	want("what is seen can be read", err == nil && string(data) == "seen")
	want("what is seen cannot be written", errors.Is(os.WriteFile(filepath.Join(seen[0], "file"), nil, 0o600), syscall.EROFS))

	interfaces, err := net.Interfaces()
	want("there are lo, eth0 and its cable", err == nil && len(interfaces) == 3)
	_, err = net.DialTimeout("tcp", "198.51.100.1:80", time.Second)
	want("no route leads out", errors.Is(err, syscall.ENETUNREACH))

	detached := exec.Command("sleep", "1000")
	detached.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	wrong = append(wrong, detached.Start())
	processes, err := filepath.Glob("/proc/[0-9]*")
	want("only its own processes are there", err == nil && len(processes) == 2)
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	fmt.Println("ready")
	if os.Getenv(inside) == "waits" {
		select {}
	}
	return nil
}

// A sandbox that ends by itself, and one that is killed, leave nothing, and have changed nothing outside.
func TestSandbox(t *testing.T) {
	for _, how := range []string{"ends", "waits"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			layered, shown := filepath.Join(dir, "layered"), filepath.Join(dir, "shown")
			for folder, content := range map[string]string{layered: "old", shown: "seen"} {
				if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "file"), []byte(content), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			cmd := Command(ctx, "/proc/self/exe", filepath.Join(dir, "store"), layered, shown)
			cmd.Env = append(os.Environ(), inside+"="+how)
			out := &readiness{kill: func() {
				if how == "waits" {
					kill()
				}
			}}
			cmd.Stdout, cmd.Stderr = out, out
			switch err := Run(cmd); {
			case errors.Is(err, ErrUnavailable) || strings.Contains(out.text.String(), ErrUnavailable.Error()):
				t.Skip(err, out.text.String())
			case !strings.HasSuffix(out.text.String(), "ready\n"), (err == nil) != (how == "ends"):
				t.Fatalf("%v:\n%s", err, out.text.String())
			}
			if data, err := os.ReadFile(filepath.Join(layered, "file")); err != nil || string(data) != "old" {
				t.Errorf("the file below the layer: %q, %v", data, err)
			}
			if _, err := os.Stat("/run/mark"); err == nil {
				t.Error("what was written into /run is outside")
			}
			if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
				t.Errorf("mounts are left: %v\n%s", err, mounts)
			}
			if pid := sleeper(); pid != 0 {
				t.Errorf("process %d is left", pid)
			}
		})
	}
}

// readiness keeps what a sandbox prints, and kills it when it says that it is ready.
type readiness struct {
	text strings.Builder
	kill func()
}

func (r *readiness) Write(p []byte) (int, error) {
	r.text.Write(p)
	if strings.HasSuffix(r.text.String(), "ready\n") {
		r.kill()
	}
	return len(p), nil
}

// sleeper returns the process that a sandbox has detached, by its environment; 0 if there is none.
func sleeper() int {
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if string(line) == "sleep\x001000\x00" && strings.Contains(string(environment), inside) {
			pid, _ := strconv.Atoi(filepath.Base(folder))
			return pid
		}
	}
	return 0
}
