package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	"airgap/internal/helmchart"
	"airgap/node/config"
)

// errHidden says that the administrator's kubeconfig is not for this user.
var errHidden = errors.New("use sudo")

// cluster is what an API server says, as far as status wants to know.
type cluster struct {
	nodes    list[nodeObject]
	pods     list[podObject]
	addOns   list[configMapObject]
	charts   list[helmchart.Chart]
	services list[serviceObject]
}

// configMapObject is what is read of a ConfigMap.
type configMapObject struct {
	Data map[string]string `json:"data"`
}

// serviceObject is what is read of a Service.
type serviceObject struct {
	Metadata objectMeta `json:"metadata"`
	Status   struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

// portsError is the condition of a Service that lacks an address because of a port (core/v1 LoadBalancerPortsError).
const portsError = "LoadBalancerPortsError"

// read asks the API server of a kubeconfig. The error says why it does not answer; errHidden is among its causes.
func (c *cluster) read(ctx context.Context, kubeconfig string) error {
	k, err := openKube(kubeconfig)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s is readable by root alone: %w", kubeconfig, errHidden)
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the node has not made its credentials yet")
	case err != nil:
		return err
	}
	defer k.close()
	if err := k.get(ctx, "/readyz", nil); err != nil {
		return unready(err)
	}
	for _, want := range []struct {
		path string
		into any
	}{
		{"/api/v1/nodes", &c.nodes},
		{"/api/v1/pods", &c.pods},
		{"/api/v1/services", &c.services},
		{"/api/v1/namespaces/kube-system/configmaps?labelSelector=" + url.QueryEscape(config.AddOnLabel), &c.addOns},
		{"/apis/" + helmchart.Group + "/" + helmchart.Version + "/helmcharts", &c.charts},
	} {
		if err := k.get(ctx, want.path, want.into); err != nil && !errors.Is(err, errNotFound) { // no Helm controller, no HelmCharts
			return err
		}
	}
	return nil
}

// unready shortens /readyz's answer, a line for each check, to the checks that failed.
func unready(err error) error {
	var failed []string
	for line := range strings.Lines(err.Error()) {
		if _, check, found := strings.Cut(line, "[-]"); found {
			name, _, _ := strings.Cut(check, " ")
			failed = append(failed, name)
		}
	}
	if len(failed) == 0 {
		return err
	}
	return fmt.Errorf("its checks fail: %s", strings.Join(failed, ", "))
}

// tellCluster tells what the API server said.
func (s *Status) tellCluster(c *cluster) {
	for _, n := range c.nodes.Items {
		s.Nodes = append(s.Nodes, s.tellNode(n))
	}
	tellLacks(s.Nodes)
	s.Node = s.thisNode()
	for _, record := range c.addOns.Items {
		file := AddOnStatus{File: record.Data["file"], State: record.Data["state"], Message: firstLine(record.Data["message"])}
		s.AddOns = append(s.AddOns, file)
		switch file.State {
		case "Failed":
			s.complain("add-on %s: %s", file.File, file.Message)
		case "Pending":
			s.complain("add-on %s is not applied yet", file.File)
		}
	}
	slices.SortFunc(s.AddOns, func(a, b AddOnStatus) int { return strings.Compare(a.File, b.File) })
	for _, service := range c.services.Items {
		if problem := conditionOf(service.Status.Conditions, portsError); problem.Status == "True" {
			ports := ServicePorts{Namespace: service.Metadata.Namespace, Name: service.Metadata.Name, Problem: firstLine(problem.Message)}
			s.Services = append(s.Services, ports)
			s.complain("service %s/%s has no address: %s", ports.Namespace, ports.Name, ports.Problem)
		}
	}
	s.tellReleases(c.charts.Items)
	s.Pods.Total = len(c.pods.Items)
	for _, pod := range c.pods.Items {
		if pod.Status.Phase != "Succeeded" && conditionOf(pod.Status.Conditions, "Ready").Status != "True" {
			name := pod.Metadata.Namespace + "/" + pod.Metadata.Name + ": " + pod.why()
			s.Pods.NotReady = append(s.Pods.NotReady, name)
			s.complain("pod %s", name)
		}
	}
}

func (s *Status) tellNode(n nodeObject) NodeStatus {
	info := n.Status.NodeInfo
	node := NodeStatus{
		Name: n.Metadata.Name, Roles: []string{}, Addresses: []string{}, Conditions: []string{}, Lacks: []string{},
		Airgap: n.Metadata.Annotations[config.VersionAnnotation], Bundles: parseBundles(n.Metadata.Annotations[config.BundlesAnnotation]),
		Version: info.KubeletVersion, Runtime: info.ContainerRuntimeVersion, OS: info.OSImage, Kernel: info.KernelVersion,
	}
	for label := range sorted(n.Metadata.Labels) {
		if role, found := strings.CutPrefix(label, "node-role.kubernetes.io/"); found {
			node.Roles = append(node.Roles, role)
		}
	}
	for _, address := range n.Status.Addresses {
		if address.Type != "Hostname" {
			node.Addresses = append(node.Addresses, address.Address)
		}
	}
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == "Ready" && c.Status == "True":
			node.Ready = true
		case c.Type == "Ready":
			node.Message = firstLine(c.Message)
		case c.Status == "True": // all others are troubles
			node.Conditions = append(node.Conditions, c.Type)
			s.complain("node %s has %s: %s", node.Name, c.Type, firstLine(c.Message))
		}
	}
	if !node.Ready {
		s.complain("node %s is not Ready: %s", node.Name, node.Message)
	}
	return node
}

// thisNode is the name of this machine in the cluster: the installed one, or the host's.
func (s *Status) thisNode() string {
	host, _ := os.Hostname()
	candidates := []string{strings.ToLower(host)}
	if s.LastInstall != nil {
		candidates = append([]string{s.LastInstall.Node}, candidates...)
	}
	for _, name := range candidates {
		if slices.ContainsFunc(s.Nodes, func(n NodeStatus) bool { return n.Name == name }) {
			return name
		}
	}
	if len(s.Nodes) == 1 {
		return s.Nodes[0].Name
	}
	return ""
}

// why says in a word or a line why a pod is not Ready.
func (p podObject) why() string {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if waiting := c.State.Waiting; waiting != nil && waiting.Reason != "PodInitializing" { // which says nothing of itself
			text := waiting.Reason
			if waiting.Message != "" {
				text += ": " + firstLine(waiting.Message)
			}
			return text
		}
	}
	if unscheduled := conditionOf(p.Status.Conditions, "PodScheduled"); unscheduled.Status == "False" {
		return firstLine(unscheduled.Message)
	}
	if p.Status.Phase == "Running" {
		return "running, not Ready"
	}
	return p.Status.Phase
}

func (s *Status) tellReleases(charts []helmchart.Chart) {
	for _, chart := range charts {
		namespace, name := chart.Release()
		release := ReleaseStatus{
			Name: name, Namespace: namespace, Version: chart.Status.Version,
			Ready: chart.Status.IsReady(chart.Generation), State: chart.Status.Reason(),
		}
		if message, failed := chart.Status.IsFailed(chart.Generation); failed {
			release.State = "failed: " + firstLine(message)
		}
		if message, drifted := chart.Status.IsDrifted(); drifted {
			release.Drift = firstLine(message)
		}
		if !release.Ready {
			s.complain("release %s is not Ready: %s", name, release.State)
		}
		s.Releases = append(s.Releases, release)
	}
	slices.SortFunc(s.Releases, func(a, b ReleaseStatus) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
}
