package agent

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

// A clock that has gone back while the machine was off, by the minutes that a board without a battery loses at a power cut or by the
// years that somebody has put right, leaves dead containers that are newer than those the kubelet will make. It takes the newest
// of a pod for the one that counts (pkg/kubelet/kuberuntime), finds that dead, and makes the same container again and again until the
// clock is past it. So what is dead and of a time to come is removed before the kubelet looks. What runs stays.

// leftovers are IDs of what has ended.
type leftovers struct {
	sandboxes, containers []string
}

// leftoversAfter picks what has ended and was created after now; of a sandbox that has, its containers go with it.
func leftoversAfter(now time.Time, sandboxes []*runtimeapi.PodSandbox, containers []*runtimeapi.Container) leftovers {
	var found leftovers
	gone := map[string]bool{}
	for _, s := range sandboxes {
		if s.State == runtimeapi.PodSandboxState_SANDBOX_NOTREADY && s.CreatedAt > now.UnixNano() {
			found.sandboxes = append(found.sandboxes, s.Id)
			gone[s.Id] = true
		}
	}
	for _, c := range containers {
		if c.State != runtimeapi.ContainerState_CONTAINER_RUNNING && c.CreatedAt > now.UnixNano() && !gone[c.PodSandboxId] {
			found.containers = append(found.containers, c.Id)
		}
	}
	return found
}

// forgetFuture removes what [leftoversAfter] finds. A pod is the worse for what cannot be removed, the node is not.
func forgetFuture(ctx context.Context, cri runtimeapi.RuntimeServiceClient, now time.Time) error {
	sandboxes, err := cri.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	containers, err := cri.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	found := leftoversAfter(now, sandboxes.Items, containers.Containers)
	for _, id := range found.containers {
		if _, err := cri.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			klog.ErrorS(err, "a container of a time to come cannot be removed", "container", id)
		}
	}
	for _, id := range found.sandboxes {
		_, err := cri.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}) // gives back its address
		if err == nil {
			_, err = cri.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
		}
		if err != nil {
			klog.ErrorS(err, "a pod's sandbox of a time to come cannot be removed", "sandbox", id)
		}
	}
	if n := len(found.sandboxes) + len(found.containers); n > 0 {
		klog.InfoS("the clock has gone back: what pods left behind of a time to come is removed", "sandboxes", len(found.sandboxes), "containers", len(found.containers))
	}
	return nil
}
