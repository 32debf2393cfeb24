package site

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// guardVariable makes a program that imports this package the guard of a site and nothing else.
const guardVariable = "AIRGAP_TEST_SITE_GUARD"

// guard is a process that takes a site down if the one that made it ends without having done so.
type guard struct {
	cmd  *exec.Cmd
	pipe *os.File // its end is the end of the process that made the site
}

// guarded is what a guard is told.
type guarded struct {
	Folder string
	Names  []string
}

func startGuard(folder string, names []string) (*guard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command(self) // in this folder: it looks for bin/airgap as this process does
	cmd.Env = append(os.Environ(), guardVariable+"=1")
	cmd.Stdin = read
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	if err := errors.Join(cmd.Start(), json.NewEncoder(write).Encode(guarded{folder, names})); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return &guard{cmd: cmd, pipe: write}, nil
}

// dismiss ends the guard: the site is gone.
func (g *guard) dismiss() error {
	_, err := g.pipe.WriteString("{}\n")
	return errors.Join(err, g.pipe.Close(), g.cmd.Wait())
}

func init() {
	if os.Getenv(guardVariable) == "" {
		return
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM)
	orders := json.NewDecoder(os.Stdin)
	var g guarded
	if orders.Decode(&g) != nil || g.Folder == "" {
		os.Exit(1)
	}
	var dismissed guarded
	if orders.Decode(&dismissed) == nil {
		os.Exit(0)
	}
	time.Sleep(time.Second) // what the dead process had started may be about to start more
	if err := describe(g.Folder, g.Names).Remove(); err != nil {
		_ = os.WriteFile(g.Folder+".left", []byte(err.Error()+"\n"), 0o600)
		os.Exit(1)
	}
	os.Exit(0)
}
