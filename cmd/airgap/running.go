//go:build !desk

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"airgap/node/config"
)

// restartPatience bounds how long a restarted server may take until its API answers.
const restartPatience = 2 * time.Minute

// client is a client of the server's API.
func (a *serverAt) client() (*kubernetes.Clientset, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", a.kubeconfigFile())
	if err != nil {
		return nil, withHint(fmt.Errorf("the administrator's kubeconfig: %w", err), "name the server's folder with --data-dir, or the file with --kubeconfig, and run this as root")
	}
	cfg.QPS, cfg.Burst = 100, 200
	return kubernetes.NewForConfig(cfg)
}

// process is the process ID of the running server, 0 if none runs.
func (a *serverAt) process() (int, error) {
	data, err := os.ReadFile(a.paths().ServerPID())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid < 2 || syscall.Kill(pid, 0) != nil {
		return 0, nil // it was killed, or is being started
	}
	return pid, nil
}

// afterChange restarts the server whose files were changed, if it runs and the user wants it, and
// otherwise says what is to be done.
func (e *env) afterChange(ctx context.Context, at *serverAt, restart bool) error {
	pid, err := at.process()
	if err != nil {
		return err
	}
	p := &printer{w: e.stdout}
	switch {
	case pid == 0:
		p.line("the server does not run; its next start works with these files")
	case !restart:
		p.line("the server runs: restart it (systemctl restart %s, or this verb with --restart); pods go on", at.paths().UnitName())
	default:
		p.line("restarting the server")
		if p.err != nil {
			return p.err
		}
		if err := at.restart(ctx, pid); err != nil {
			return err
		}
		p.line("the server is ready again")
	}
	return p.err
}

// restart makes the server end in a way that whoever looks after it starts it again, and waits until its API answers.
func (a *serverAt) restart(ctx context.Context, pid int) error {
	if err := syscall.Kill(pid, config.RestartSignal); err != nil {
		return fmt.Errorf("restart the server, process %d: %w", pid, err)
	}
	deadline := time.Now().Add(restartPatience)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
		if now, err := a.process(); err == nil && now != 0 && now != pid && a.ready(ctx) {
			return nil
		}
		if time.Now().After(deadline) {
			return withHint(fmt.Errorf("the server is not ready %s after its restart", restartPatience), "see its log (journalctl -u %s, or %s)", a.paths().UnitName(), a.paths().Log())
		}
	}
}

// ready says whether the API answers to the administrator's kubeconfig, which may be new too.
func (a *serverAt) ready(ctx context.Context) bool {
	client, err := a.client()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil
}
