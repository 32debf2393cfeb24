package crictl

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels that the kubelet gives to containers and sandboxes.
const (
	labelPodName      = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
)

// Filter says which containers or pods are meant. Its zero value means all of them.
type Filter struct {
	ID        string // or the beginning of one
	Pod       string // ID of the pod
	Name      string // regular expression
	Namespace string // regular expression
	Image     string
	State     string // "running", "exited", "created", "unknown"; of a pod "ready", "notready"
	Labels    map[string]string
	Last      int // the newest so many; 0: all
}

// View says how a list is printed.
type View struct {
	Quiet   bool // IDs alone
	NoTrunc bool
	Output  string // Table, JSON or YAML
}

// Containers lists containers, newest first.
func (c *Client) Containers(ctx context.Context, f Filter) ([]*runtime.Container, error) {
	filter := &runtime.ContainerFilter{Id: f.ID, PodSandboxId: f.Pod, LabelSelector: f.Labels}
	if f.State != "" {
		state, ok := runtime.ContainerState_value["CONTAINER_"+strings.ToUpper(f.State)]
		if !ok {
			return nil, fmt.Errorf("state %q: want created, running, exited or unknown", f.State)
		}
		filter.State = &runtime.ContainerStateValue{State: runtime.ContainerState(state)}
	}
	name, namespace, err := patterns(f)
	if err != nil {
		return nil, err
	}
	image := f.Image
	if image != "" {
		if status, err := c.images.ImageStatus(ctx, &runtime.ImageSpec{Image: image}, false); err == nil && status.GetImage() != nil {
			image = status.GetImage().GetId()
		}
	}
	list, err := c.runtime.ListContainers(ctx, filter)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(k *runtime.Container) bool {
		return !name.MatchString(k.GetMetadata().GetName()) || !namespace.MatchString(k.GetLabels()[labelPodNamespace]) ||
			image != "" && image != k.GetImageRef() && image != k.GetImage().GetImage() && image != k.GetImageId()
	})
	slices.SortStableFunc(list, func(a, b *runtime.Container) int { return cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()) })
	return first(list, f.Last), nil
}

// PrintContainers is ps.
func (c *Client) PrintContainers(ctx context.Context, f Filter, v View) error {
	list, err := c.Containers(ctx, f)
	if err != nil {
		return err
	}
	if v.Output != Table {
		return c.message(&runtime.ListContainersResponse{Containers: list}, v.Output)
	}
	var ids []string
	var rows [][]string
	for _, k := range list {
		image := cmp.Or(k.GetImage().GetUserSpecifiedImage(), k.GetImage().GetImage())
		if strings.HasPrefix(image, "sha256:") {
			image = short(image, v.NoTrunc)
		}
		ids = append(ids, k.GetId())
		rows = append(rows, []string{
			short(k.GetId(), v.NoTrunc), image, c.ago(k.GetCreatedAt()), containerState(k.GetState()),
			k.GetMetadata().GetName(), strconv.Itoa(int(k.GetMetadata().GetAttempt())),
			short(k.GetPodSandboxId(), v.NoTrunc), orUnknown(k.GetLabels()[labelPodName]), orUnknown(k.GetLabels()[labelPodNamespace]),
		})
	}
	if v.Quiet {
		return c.lines(ids)
	}
	return c.table([]string{"CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"}, rows)
}

// Pods lists sandboxes, newest first.
func (c *Client) Pods(ctx context.Context, f Filter) ([]*runtime.PodSandbox, error) {
	filter := &runtime.PodSandboxFilter{Id: f.ID, LabelSelector: f.Labels}
	if f.State != "" {
		state, ok := runtime.PodSandboxState_value["SANDBOX_"+strings.ToUpper(f.State)]
		if !ok {
			return nil, fmt.Errorf("state %q: want ready or notready", f.State)
		}
		filter.State = &runtime.PodSandboxStateValue{State: runtime.PodSandboxState(state)}
	}
	name, namespace, err := patterns(f)
	if err != nil {
		return nil, err
	}
	list, err := c.runtime.ListPodSandbox(ctx, filter)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(p *runtime.PodSandbox) bool {
		return !name.MatchString(p.GetMetadata().GetName()) || !namespace.MatchString(p.GetMetadata().GetNamespace())
	})
	slices.SortStableFunc(list, func(a, b *runtime.PodSandbox) int { return cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()) })
	return first(list, f.Last), nil
}

// PrintPods is pods.
func (c *Client) PrintPods(ctx context.Context, f Filter, v View) error {
	list, err := c.Pods(ctx, f)
	if err != nil {
		return err
	}
	if v.Output != Table {
		return c.message(&runtime.ListPodSandboxResponse{Items: list}, v.Output)
	}
	var ids []string
	var rows [][]string
	for _, p := range list {
		ids = append(ids, p.GetId())
		rows = append(rows, []string{
			short(p.GetId(), v.NoTrunc), c.ago(p.GetCreatedAt()), podState(p.GetState()), p.GetMetadata().GetName(),
			p.GetMetadata().GetNamespace(), strconv.Itoa(int(p.GetMetadata().GetAttempt())), cmp.Or(p.GetRuntimeHandler(), "(default)"),
		})
	}
	if v.Quiet {
		return c.lines(ids)
	}
	return c.table([]string{"POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"}, rows)
}

// patterns compiles the regular expressions of a filter; an empty one matches everything.
func patterns(f Filter) (name, namespace *regexp.Regexp, err error) {
	if name, err = regexp.Compile(f.Name); err != nil {
		return nil, nil, fmt.Errorf("name: %w", err)
	}
	if namespace, err = regexp.Compile(f.Namespace); err != nil {
		return nil, nil, fmt.Errorf("namespace: %w", err)
	}
	return name, namespace, nil
}

// first is the first n of a list, or all of it when n is 0.
func first[T any](list []T, n int) []T {
	if n <= 0 {
		return list
	}
	return list[:min(n, len(list))]
}

// containerState is "Running" for CONTAINER_RUNNING.
func containerState(state runtime.ContainerState) string {
	word := strings.TrimPrefix(state.String(), "CONTAINER_")
	return word[:1] + strings.ToLower(word[1:])
}

func podState(state runtime.PodSandboxState) string {
	if state == runtime.PodSandboxState_SANDBOX_READY {
		return "Ready"
	}
	return "NotReady"
}

func orUnknown(text string) string { return cmp.Or(text, "unknown") }
