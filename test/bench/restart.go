package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const restartPatience = 2 * time.Minute

// benchRestart stops the service as a service manager does, and starts it again.
func benchRestart(ctx context.Context, b *bench) (err error) {
	s, err := b.newSite()
	if err != nil {
		return err
	}
	defer s.end(&err)
	if _, err := output(s.install(ctx, b.built("dist/system.airgap"))); err != nil {
		return err
	}
	var stops, answers, ready, whole series
	for run := range b.runs {
		say("restart: run %d of %d", run+1, b.runs)
		if err := pause(ctx, 10*time.Second); err != nil { // what the start before set off has ended
			return err
		}
		settle()
		supervisor, stopped, err := s.stopService()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := s.startService(supervisor); err != nil {
			return err
		}
		answered, err := s.awaitReady(ctx, began)
		if err != nil {
			return err
		}
		stops = append(stops, stopped.Seconds())
		answers = append(answers, answered.Sub(began).Seconds())
		ready = append(ready, time.Since(began).Seconds())
		whole = append(whole, stops[run]+ready[run])
	}
	printTable([]string{"What", "Median (minimum–maximum)"}, [][]string{
		{"SIGTERM until supervisor, server, agent and containerd have ended", stops.in("s")},
		{"start until the API server is ready", answers.in("s")},
		{"start until the node is Ready, said by this start's kubelet", ready.in("s")},
		{"both: SIGTERM until Ready again", whole.in("s")},
	})
	return nil
}

// stopService asks the supervisor to end, and waits until all but the pods and their shims has
// ended. It returns the supervisor as it was.
func (s *site) stopService() (supervisor process, took time.Duration, err error) {
	all := slices.DeleteFunc(s.processes(), func(p process) bool { return p.role == "shim" })
	i := slices.IndexFunc(all, func(p process) bool { return p.role == "supervise" })
	if i < 0 {
		return process{}, 0, errors.New("no supervisor runs")
	}
	ends := map[int]process{} // by pidfd
	defer func() {
		for fd := range ends {
			unix.Close(fd)
		}
	}()
	for _, p := range all {
		fd, err := unix.PidfdOpen(p.pid, 0)
		if err != nil {
			return process{}, 0, fmt.Errorf("%s, process %d: %w", p.role, p.pid, err)
		}
		ends[fd] = p
	}
	began := time.Now()
	if err := syscall.Kill(all[i].pid, syscall.SIGTERM); err != nil {
		return process{}, 0, err
	}
	for fd, p := range ends {
		if err := awaitEnd(fd, restartPatience); err != nil {
			return process{}, 0, fmt.Errorf("%s, asked to stop: %w", p.role, err)
		}
	}
	return all[i], time.Since(began), nil
}

// startService starts a supervisor with the arguments of the one before. It outlives this program
// unless the site is removed.
func (s *site) startService(before process) error {
	if err := os.MkdirAll(s.paths.Run(), 0o755); err != nil {
		return err
	}
	cmd := s.command(context.Background(), before.args[0], before.args[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // so that it is no zombie when it has ended
	return nil
}

// awaitReady waits until the node is Ready by word of a kubelet that was started after began, and
// says since when the API server has been ready.
func (s *site) awaitReady(ctx context.Context, began time.Time) (answered time.Time, err error) {
	client, err := s.client()
	if err != nil {
		return answered, err
	}
	err = await(ctx, restartPatience, func(ctx context.Context) error {
		if answered.IsZero() {
			if _, err := client.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
				return fmt.Errorf("the API server: %w", err)
			}
			answered = time.Now()
		}
		return nodeReady(ctx, client, began)
	})
	return answered, err
}

func nodeReady(ctx context.Context, client kubernetes.Interface, since time.Time) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	if !ready {
		return fmt.Errorf("node %s is not Ready", nodeName)
	}
	lease, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if lease.Spec.RenewTime == nil || lease.Spec.RenewTime.Time.Before(since) {
		return fmt.Errorf("node %s has not reported since it was started", nodeName)
	}
	return nil
}
