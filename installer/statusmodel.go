package installer

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"airgap/node/config"
)

// StatusAPIVersion is that of [Status] as JSON: within it fields are added, never renamed or taken away.
const StatusAPIVersion = "airgap/v1"

// Values of [Status.Service].
const (
	ServiceRunning      = "running"
	ServiceStopped      = "stopped"
	ServiceNotInstalled = "not installed"
)

// Values of [Status.Role].
const (
	RoleServer = "server"
	RoleAgent  = "agent" // what a cluster says can be asked on its servers
)

// Status is how a machine stands. Times are UTC, sizes bytes. Lists are never null.
type Status struct {
	APIVersion string `json:"apiVersion"` // StatusAPIVersion
	Kind       string `json:"kind"`       // "Status"
	Healthy    bool   `json:"healthy"`    // there are no problems

	DataDir string     `json:"dataDir"`
	Role    string     `json:"role"`            // RoleServer or RoleAgent; empty: nothing is installed
	Service string     `json:"service"`         // ServiceRunning…
	Since   *time.Time `json:"since,omitempty"` // the server's start, if it runs
	API     string     `json:"api"`             // "ready", or why not; on an agent: whether a server is reached
	LogHint string     `json:"logHint"`         // what shows the node's log

	Airgap     string `json:"airgap,omitempty"`     // version of the distribution installed last
	Kubernetes string `json:"kubernetes,omitempty"` // of the same

	Node       string            `json:"node"`  // this machine's name in the cluster; empty if it is not known
	Nodes      []NodeStatus      `json:"nodes"` // of the cluster
	Components []ComponentStatus `json:"components"`
	Datastore  *DatastoreStatus  `json:"datastore,omitempty"` // nil: no server runs
	Servers    []ServerStatus    `json:"servers"`             // of the cluster, as an agent reaches them

	AddOns   []AddOnStatus   `json:"addOns"`
	Releases []ReleaseStatus `json:"releases"`
	Services []ServicePorts  `json:"services"` // of type LoadBalancer that lack an address because of a port
	Pods     PodsStatus      `json:"pods"`

	Certificates []CertificateStatus `json:"certificates"`
	Disk         DiskStatus          `json:"disk"`
	Memory       []ProcessStatus     `json:"memory"`  // of the node's own processes, its shims as one
	Bundles      []BundleStatus      `json:"bundles"` // accepted, by name
	LastInstall  *Report             `json:"lastInstall,omitempty"`

	Repairs   []config.Repair       `json:"repairs"`             // what starts of the node put right lately, the newest last
	Snapshots *config.SnapshotState `json:"snapshots,omitempty"` // of the datastore; nil: none, or no server runs

	Notes    []string `json:"notes"`    // what is unusual, and no problem
	Unseen   []string `json:"unseen"`   // what this user or this program could not see
	Problems []string `json:"problems"` // why the machine is not healthy
}

// BundleStatus is the highest version of a bundle that the machine has accepted.
type BundleStatus struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
}

// NodeStatus is a node of the cluster.
type NodeStatus struct {
	Name       string   `json:"name"`
	Ready      bool     `json:"ready"`
	Message    string   `json:"message,omitempty"` // why it is not Ready
	Roles      []string `json:"roles"`
	Addresses  []string `json:"addresses"`
	Version    string   `json:"version"`    // the kubelet's
	Runtime    string   `json:"runtime"`    // "containerd://2.4.2"
	OS         string   `json:"os"`         // "Debian GNU/Linux 12 (bookworm)"
	Kernel     string   `json:"kernel"`     // "6.1.0-18-amd64"
	Conditions []string `json:"conditions"` // those that should not hold: "DiskPressure", …

	Airgap  string       `json:"airgap,omitempty"` // version that runs there, by the node's own word; empty: it has not said
	Bundles []NodeBundle `json:"bundles"`          // installed there, by the same
	Lacks   []string     `json:"lacks"`            // what the cluster's servers have of bundles and this node has not: "demo 1.5"
}

// NodeBundle is a bundle that is installed on a node.
type NodeBundle struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"` // of its manifest
}

// ServerStatus is a server of the cluster as an agent's load balancer knows it.
type ServerStatus struct {
	Address string    `json:"address"`           // "10.0.0.1:6443"
	Problem string    `json:"problem,omitempty"` // why it is not used; empty: it is
	Since   time.Time `json:"since"`             // of this state
}

// States of a component.
const (
	ComponentOK       = "ok"
	ComponentFailed   = "failed"
	ComponentStopped  = "stopped"
	ComponentDisabled = "disabled"
	ComponentUnknown  = "unknown"
)

// ComponentStatus is one part of the node.
type ComponentStatus struct {
	Name   string `json:"name"`
	State  string `json:"state"`            // ComponentOK…
	Detail string `json:"detail,omitempty"` // what it is like, or what is wrong
}

// DatastoreStatus is the cluster's datastore as the running server sees it.
type DatastoreStatus struct {
	Datastore string    `json:"datastore"`           // which one: "SQLite", "PostgreSQL database …"
	Problem   string    `json:"problem,omitempty"`   // empty: it works
	Since     time.Time `json:"since"`               // of this state
	SizeBytes int64     `json:"sizeBytes,omitempty"` // SQLite's files
}

// AddOnStatus is what became of a file of the manifests folder.
type AddOnStatus struct {
	File    string `json:"file"`
	State   string `json:"state"` // Applied, Pending, Failed or Skipped
	Message string `json:"message,omitempty"`
}

// ServicePorts is a service that lacks an address of the load balancer.
type ServicePorts struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Problem   string `json:"problem"` // which ports, and who has them
}

// PodsStatus counts pods.
type PodsStatus struct {
	Total    int      `json:"total"`
	NotReady []string `json:"notReady"` // "namespace/name: why"; completed ones are not among them
}

// ReleaseStatus is a chart that the Helm controller looks after.
type ReleaseStatus struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Version   string `json:"version"` // the chart's
	Ready     bool   `json:"ready"`
	State     string `json:"state"`           // in a word, or why it failed
	Drift     string `json:"drift,omitempty"` // which of its objects are not as it says; no problem of the node's
}

// CertificateGood is the state of a certificate with nothing to be done.
const CertificateGood = "good"

// CertificateStatus is one certificate of the server.
type CertificateStatus struct {
	Service  string    `json:"service"`
	File     string    `json:"file"`
	NotAfter time.Time `json:"notAfter"`
	DaysLeft int       `json:"daysLeft"`
	Status   string    `json:"status"` // CertificateGood, or what is wrong
}

// DiskStatus is the file system of the data folder, and what the node has on it.
type DiskStatus struct {
	FreeBytes      int64 `json:"freeBytes"`
	TotalBytes     int64 `json:"totalBytes"`
	ReadOnly       bool  `json:"readOnly,omitempty"`
	ImagesBytes    int64 `json:"imagesBytes"` // packed and unpacked
	DatastoreBytes int64 `json:"datastoreBytes"`
	LogsBytes      int64 `json:"logsBytes"`
	AtLeast        bool  `json:"atLeast,omitempty"` // there was no time to count all
}

// ProcessStatus is the memory of processes of one kind.
type ProcessStatus struct {
	Role     string `json:"role"` // server, agent, containerd, supervise, shims
	Count    int    `json:"count"`
	PSSBytes int64  `json:"pssBytes"` // proportional set size: shared pages are divided among those that share them
}

func newStatus(dataDir string) *Status {
	return &Status{
		APIVersion: StatusAPIVersion, Kind: "Status", DataDir: dataDir, Healthy: true,
		Nodes: []NodeStatus{}, Servers: []ServerStatus{}, Components: []ComponentStatus{}, AddOns: []AddOnStatus{}, Releases: []ReleaseStatus{},
		Services: []ServicePorts{}, Pods: PodsStatus{NotReady: []string{}}, Certificates: []CertificateStatus{},
		Memory: []ProcessStatus{}, Bundles: []BundleStatus{}, Repairs: []config.Repair{}, Notes: []string{}, Unseen: []string{}, Problems: []string{},
	}
}

func (s *Status) complain(format string, args ...any) {
	s.Healthy = false
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

// sorted goes through a map in the order of its keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}
