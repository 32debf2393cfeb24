package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/internal/helmchart"
	"airgap/internal/hostinfo"
	"airgap/internal/journal"
	"airgap/node/config"
)

// Status is how a machine stands.
type Status struct {
	DataDir string `json:"dataDir"`
	Service string `json:"service"` // "running" or "stopped"
	API     string `json:"api"`     // "ready", or why not

	Datastore *config.DatastoreState `json:"datastore,omitempty"` // nil: no server runs

	Airgap     string          `json:"airgap,omitempty"`     // version of the distribution installed last
	Kubernetes string          `json:"kubernetes,omitempty"` // of the same
	Bundles    []BundleStatus  `json:"bundles"`              // accepted, by name
	Nodes      []NodeStatus    `json:"nodes"`
	Pods       PodsStatus      `json:"pods"`
	Releases   []ReleaseStatus `json:"releases"`

	LastInstall *Report  `json:"lastInstall,omitempty"`
	Problems    []string `json:"problems"` // why the machine is not healthy; none if it is
}

// Healthy says whether there is nothing to complain of.
func (s *Status) Healthy() bool { return len(s.Problems) == 0 }

// BundleStatus is the highest version of a bundle that the machine has accepted.
type BundleStatus struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
}

// NodeStatus is a node of the cluster.
type NodeStatus struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"` // why it is not Ready
	Version string `json:"version"`           // the kubelet's
}

// PodsStatus counts pods.
type PodsStatus struct {
	Total    int      `json:"total"`
	NotReady []string `json:"notReady"` // "namespace/name: phase"; completed ones are not among them
}

// ReleaseStatus is a chart that the Helm controller looks after.
type ReleaseStatus struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Ready     bool   `json:"ready"`
	State     string `json:"state"` // in a word, or why it failed
}

// ReadStatus looks at the node with the given data folder (empty: the default). kubeconfig is the
// administrator's (empty: where the node writes it). The error is [ErrNotInstalled] if there is none.
func ReadStatus(ctx context.Context, dataDir, kubeconfig string) (*Status, error) {
	if dataDir == "" {
		dataDir = config.DefaultDataDir
	}
	p := config.PathsOf(dataDir)
	if kubeconfig == "" {
		kubeconfig = p.Kubeconfig()
	}
	if !hasNode(p) {
		return nil, fmt.Errorf("%w: there is no node with the data folder %s", ErrNotInstalled, p.DataDir)
	}
	s := &Status{DataDir: p.DataDir, Bundles: []BundleStatus{}, Nodes: []NodeStatus{}, Releases: []ReleaseStatus{}, Problems: []string{}}
	s.Pods.NotReady = []string{}
	for _, read := range []func(config.Paths) error{s.readInstall, s.readJournal, s.readService, s.readDatastore} {
		if err := read(p); err != nil {
			return nil, err
		}
	}
	if err := s.readCluster(ctx, kubeconfig); err != nil {
		s.API = brief(err)
		s.complain("the API server does not answer: %s", s.API)
	}
	return s, nil
}

func (s *Status) complain(format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

// readInstall reads what installs have left.
func (s *Status) readInstall(p config.Paths) error {
	all, err := readAccepted(p)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s.Bundles = append(s.Bundles, BundleStatus{Name: name, Version: all[name].Version, Time: all[name].Time})
	}
	reports, err := readReports(p)
	if err != nil || len(reports) == 0 {
		return err
	}
	s.LastInstall = reports[len(reports)-1]
	for _, report := range reports {
		if report.Airgap != "" {
			s.Airgap, s.Kubernetes = report.Airgap, report.Kubernetes
		}
	}
	return nil
}

// readJournal complains of an install that has not come to its end.
func (s *Status) readJournal(p config.Paths) error {
	records, err := journal.Read(filepath.Join(p.Install(), "journal"))
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	t, err := lastTransaction(records)
	if err == nil && t.open {
		s.complain("the install of %s %s has not come to its end: run it again", t.Bundle, t.Version)
	}
	return err
}

func (s *Status) readService(p config.Paths) error {
	host := hostinfo.This()
	managed := &systemd{paths: p, dir: "/etc/systemd/system", booted: host.Systemd(), host: host}
	plain := &supervised{paths: p, host: host}
	byUnit, err := managed.running()
	if err != nil {
		return err
	}
	byItself, err := plain.running()
	if err != nil {
		return err
	}
	s.Service = "running"
	if !byUnit && !byItself {
		s.Service = "stopped"
		s.complain("the service does not run")
	}
	return nil
}

// readDatastore reads what the running server says of its datastore.
func (s *Status) readDatastore(p config.Paths) error {
	state, err := config.ReadDatastoreState(p)
	if errors.Is(err, fs.ErrNotExist) || s.Service != "running" {
		return nil
	}
	if err != nil {
		return err
	}
	s.Datastore = &state
	if state.Problem != "" {
		s.complain("the datastore does not work since %s: %s", state.Since.Format(time.RFC3339), state.Problem)
	}
	return nil
}

// readCluster asks the API server.
func (s *Status) readCluster(ctx context.Context, kubeconfig string) error {
	k, err := openKube(kubeconfig)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s is readable by root alone: use sudo", kubeconfig)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the node has not made its credentials yet")
	}
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.get(ctx, "/readyz", nil); err != nil {
		return err
	}
	s.API = "ready"
	var nodes list[nodeObject]
	if err := k.get(ctx, "/api/v1/nodes", &nodes); err != nil {
		return err
	}
	for _, n := range nodes.Items {
		ready := conditionOf(n.Status.Conditions, "Ready")
		node := NodeStatus{Name: n.Metadata.Name, Ready: ready.Status == "True", Version: n.Status.NodeInfo.KubeletVersion}
		if !node.Ready {
			node.Message = firstLine(ready.Message)
			s.complain("node %s is not Ready: %s", node.Name, node.Message)
		}
		s.Nodes = append(s.Nodes, node)
	}
	var pods list[podObject]
	if err := k.get(ctx, "/api/v1/pods", &pods); err != nil {
		return err
	}
	s.Pods.Total = len(pods.Items)
	for _, pod := range pods.Items {
		if pod.Status.Phase != "Succeeded" && conditionOf(pod.Status.Conditions, "Ready").Status != "True" {
			name := pod.Metadata.Namespace + "/" + pod.Metadata.Name + ": " + pod.Status.Phase
			s.Pods.NotReady = append(s.Pods.NotReady, name)
			s.complain("pod %s", name)
		}
	}
	return s.readReleases(ctx, k)
}

func (s *Status) readReleases(ctx context.Context, k *kube) error {
	var charts list[helmchart.Chart]
	err := k.get(ctx, "/apis/"+helmchart.Group+"/"+helmchart.Version+"/helmcharts", &charts)
	if errors.Is(err, errNotFound) {
		return nil // no Helm controller
	}
	if err != nil {
		return err
	}
	for _, chart := range charts.Items {
		namespace, name := chart.Release()
		release := ReleaseStatus{Name: name, Namespace: namespace, Ready: chart.Status.IsReady(chart.Generation), State: chart.Status.Reason()}
		if message, failed := chart.Status.IsFailed(chart.Generation); failed {
			release.State = "failed: " + firstLine(message)
		}
		if !release.Ready {
			s.complain("release %s is not Ready: %s", name, release.State)
		}
		s.Releases = append(s.Releases, release)
	}
	slices.SortFunc(s.Releases, func(a, b ReleaseStatus) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return nil
}

// readReports returns the reports of all installs, the oldest first.
func readReports(p config.Paths) ([]*Report, error) {
	folder := filepath.Join(p.Install(), "reports")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Report
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".json" || strings.HasPrefix(entry.Name(), ".") {
			continue // being written
		}
		report := new(Report)
		if err := readJSON(filepath.Join(folder, entry.Name()), report); err != nil {
			return nil, err
		}
		all = append(all, report)
	}
	slices.SortStableFunc(all, func(a, b *Report) int { return a.Finished.Compare(b.Finished) })
	return all, nil
}
