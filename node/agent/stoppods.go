package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"airgap/node/config"
)

// Annotations that the kubelet gives its containers (pkg/kubelet/kuberuntime/labels.go).
const (
	annotationGracePeriod = "io.kubernetes.pod.terminationGracePeriod" // seconds
	annotationPreStop     = "io.kubernetes.container.preStopHandler"   // a LifecycleHandler as JSON
)

// systemShare of the time for all pods is kept for those of kube-system, which others may need to end: cluster DNS.
const systemShare = 6 // a sixth

// leastGrace is what each container gets, whatever its hook has taken, as from the kubelet.
const leastGrace = 2 * time.Second

// StopPods stops every pod of a node whose agent does not run, in order and within
// [config.Agent.ShutdownGracePeriod]: what runs after its own grace period, or after that time, is killed. It runs
// containerd for as long as it takes. The pods themselves stay: the kubelet starts them again when the machine is back.
//
// It returns the pods that were stopped, "namespace/name", sorted. The kubelet's own graceful shutdown is not used: it
// needs D-Bus and logind, and fails the pods, so that those without a controller never come back.
func StopPods(ctx context.Context, cfg *config.Agent, o Options) (pods []string, err error) {
	a := &agent{config: cfg, paths: config.PathsOf(cfg.DataDir), options: o, bin: filepath.Dir(o.Executable)}
	if a.limits, err = detectLimits(); err != nil {
		return nil, err
	}
	client, err := a.connectContainerd()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	runtimeCtx, stopRuntime := context.WithCancel(ctx)
	runtime := make(chan error, 1)
	go func() { runtime <- a.runContainerd(runtimeCtx) }()
	defer func() { stopRuntime(); <-runtime }()
	cri := runtimeapi.NewRuntimeServiceClient(client.Conn().(grpc.ClientConnInterface))
	for {
		if _, err := cri.Status(ctx, &runtimeapi.StatusRequest{}); err == nil {
			break
		}
		if err := pause(ctx, 50*time.Millisecond, runtime); err != nil {
			return nil, err
		}
	}
	s := podStopper{cri: cri, end: time.Now().Add(cfg.ShutdownGracePeriod)}
	return s.stopAll(ctx, cfg.ShutdownGracePeriod/systemShare)
}

// podStopper stops pods until an end.
type podStopper struct {
	cri runtimeapi.RuntimeServiceClient
	end time.Time
}

// runningPod is a sandbox with its running containers.
type runningPod struct {
	sandbox    *runtimeapi.PodSandbox
	containers []*runtimeapi.Container
}

func (p runningPod) name() string {
	return p.sandbox.Labels[kubelettypes.KubernetesPodNamespaceLabel] + "/" + p.sandbox.Labels[kubelettypes.KubernetesPodNameLabel]
}

// stopAll stops the pods of all namespaces but kube-system, then those; the last part of the time is theirs.
func (s podStopper) stopAll(ctx context.Context, forSystem time.Duration) ([]string, error) {
	all, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	var others, system []runningPod
	for _, p := range all {
		if p.sandbox.Labels[kubelettypes.KubernetesPodNamespaceLabel] == metav1.NamespaceSystem {
			system = append(system, p)
		} else {
			others = append(others, p)
		}
	}
	first := podStopper{cri: s.cri, end: s.end.Add(-forSystem)}
	stopped, err1 := first.stop(ctx, others)
	more, err2 := s.stop(ctx, system)
	stopped = append(stopped, more...)
	slices.Sort(stopped)
	return stopped, errors.Join(err1, err2)
}

// list returns what runs.
func (s podStopper) list(ctx context.Context) ([]runningPod, error) {
	sandboxes, err := s.cri.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
	}})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	containers, err := s.cri.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	}})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var all []runningPod
	for _, sandbox := range sandboxes.Items {
		p := runningPod{sandbox: sandbox}
		for _, c := range containers.Containers {
			if c.PodSandboxId == sandbox.Id {
				p.containers = append(p.containers, c)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// stop stops pods at once, and each one's containers at once.
func (s podStopper) stop(ctx context.Context, pods []runningPod) (stopped []string, err error) {
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for _, p := range pods {
		all.Go(func() {
			var containers sync.WaitGroup
			failures := make([]error, len(p.containers))
			for i, c := range p.containers {
				containers.Go(func() { failures[i] = s.stopContainer(ctx, p, c) })
			}
			containers.Wait()
			err := errors.Join(failures...)
			if err == nil {
				// Its network may be there no more; its processes are gone before that is tried.
				_, _ = s.cri.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.sandbox.Id})
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("pod %s: %w", p.name(), err))
				return
			}
			stopped = append(stopped, p.name())
		})
	}
	all.Wait()
	return stopped, errors.Join(errs...)
}

// stopContainer runs a container's preStop hook, and stops it; both within its grace period and the time that is left.
func (s podStopper) stopContainer(ctx context.Context, p runningPod, c *runtimeapi.Container) error {
	grace := gracePeriod(c.Annotations)
	end := time.Now().Add(min(grace, max(time.Until(s.end), 0)))
	if text := c.Annotations[annotationPreStop]; text != "" {
		hook, cancel := context.WithDeadline(ctx, end)
		_ = s.preStop(hook, p, c, text) // as with the kubelet, a hook that fails keeps no container from being stopped
		cancel()
	}
	seconds := int64(max(time.Until(end), leastGrace).Seconds())
	_, err := s.cri.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.Id, Timeout: seconds})
	if err != nil {
		return fmt.Errorf("container %s: %w", c.Metadata.GetName(), err)
	}
	return nil
}

// gracePeriod is what a pod wants to be given; 30 seconds if it does not say.
func gracePeriod(annotations map[string]string) time.Duration {
	seconds, err := strconv.ParseInt(annotations[annotationGracePeriod], 10, 32)
	if err != nil || seconds < 0 {
		seconds = corev1.DefaultTerminationGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}

// preStop runs a hook. Named ports of HTTP hooks are known to the kubelet alone: such a hook is left out.
func (s podStopper) preStop(ctx context.Context, p runningPod, c *runtimeapi.Container, handler string) error {
	var h corev1.LifecycleHandler
	if err := json.Unmarshal([]byte(handler), &h); err != nil {
		return err
	}
	switch {
	case h.Exec != nil:
		deadline, _ := ctx.Deadline()
		timeout := int64(max(time.Until(deadline), time.Second).Seconds())
		_, err := s.cri.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.Id, Cmd: h.Exec.Command, Timeout: timeout})
		return err
	case h.HTTPGet != nil && h.HTTPGet.Port.IntValue() > 0:
		host := h.HTTPGet.Host
		if host == "" {
			status, err := s.cri.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: p.sandbox.Id})
			if err != nil {
				return err
			}
			host = status.Status.GetNetwork().GetIp()
		}
		scheme := strings.ToLower(cmp.Or(string(h.HTTPGet.Scheme), "http"))
		url := scheme + "://" + net.JoinHostPort(host, strconv.Itoa(h.HTTPGet.Port.IntValue())) + "/" + strings.TrimPrefix(h.HTTPGet.Path, "/")
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	case h.Sleep != nil:
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		}
	}
	return nil
}
