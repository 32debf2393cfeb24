package site

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"airgap/node/config"
)

// PID is the process of the machine that runs one of airgap's verbs.
func (n *Node) PID(verb string) (int, error) {
	p, err := n.Find(verb)
	return p.PID, err
}

// StopServer ends the server in order, and waits until its supervisor, which was not asked for that, has seen it: it ends
// too, or has started the server again.
func (n *Node) StopServer() {
	n.T.Helper()
	old, err := n.PID("server")
	if err != nil {
		n.T.Fatal(err)
	}
	if err := syscall.Kill(old, syscall.SIGTERM); err != nil {
		n.T.Fatal(err)
	}
	Eventually(n.T, Patience, func() error {
		if err := syscall.Kill(old, 0); err == nil {
			return errors.New("the server still stops")
		}
		if _, err := n.PID("supervise"); err != nil {
			return nil
		}
		if again, err := n.PID("server"); err != nil || again == old {
			return errors.New("the supervisor has not seen that the server stopped")
		}
		return nil
	})
}

// Configure writes one of the files that add to the node's configuration, or removes it if yaml is empty, and restarts the
// server.
func (n *Node) Configure(file, yaml string) {
	n.T.Helper()
	dropIn := filepath.Join(n.Paths.ConfigFile()+".d", file)
	err := os.MkdirAll(filepath.Dir(dropIn), 0o700)
	if yaml == "" {
		err = errors.Join(err, os.Remove(dropIn))
	} else {
		err = errors.Join(err, os.WriteFile(dropIn, []byte(yaml), 0o600))
	}
	if err != nil {
		n.T.Fatal(err)
	}
	old, err := n.PID("server")
	if err != nil {
		n.T.Fatal(err)
	}
	if err := syscall.Kill(old, config.RestartSignal); err != nil {
		n.T.Fatal(err)
	}
	Eventually(n.T, Patience, func() error {
		if now, err := n.PID("server"); err != nil || now == old {
			return errors.Join(errors.New("the server has not been started again"), err)
		}
		return n.Ready()
	})
}

// StartNode starts the node's service as the installer does on a host without an init system, unless it
// runs. The verb is server or agent.
func (n *Node) StartNode(verb string) {
	n.T.Helper()
	if _, err := n.PID("supervise"); err == nil {
		return
	}
	current := n.Paths.Current()
	cmd := n.Inside(filepath.Join(current, "airgap"), "supervise",
		"--pid-file", filepath.Join(n.Paths.Run(), "supervise.pid"), "--log", n.Paths.Log(),
		"--watchdog", config.WatchdogTimeout.String(), "--trial", n.Paths.DataDir, "--",
		filepath.Join(current, "bin/airgap"), verb, "--data-dir", n.Paths.DataDir, "--config", n.Paths.ConfigFile())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = nil // this process's own
	if err := os.MkdirAll(n.Paths.Run(), 0o711); err != nil {
		n.T.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.T.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
}

// StopNode stops the node's service; the pods run on.
func (n *Node) StopNode() {
	n.T.Helper()
	for _, verb := range []string{"supervise", "server"} {
		if pid, err := n.PID(verb); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	Eventually(n.T, 30*time.Second, func() error {
		for _, verb := range []string{"supervise", "server", "agent"} {
			if pid, err := n.PID(verb); err == nil {
				return fmt.Errorf("airgap %s still runs, as process %d", verb, pid)
			}
		}
		return nil
	})
}

// Reboot kills everything at once and clears what a reboot clears. StartNode starts the node again.
func (n *Node) Reboot() {
	n.T.Helper()
	if err := errors.Join(n.KillAll(), n.Unmount(), os.RemoveAll(n.Paths.Run())); err != nil {
		n.T.Fatal(err)
	}
	for _, link := range []string{config.PodBridge, "flannel.1"} {
		_ = n.Inside("ip", "link", "delete", link).Run()
	}
	_ = n.Inside("nft", "flush", "ruleset").Run()
}
