package addons

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	eventrecord "k8s.io/client-go/tools/record"
)

const (
	defaultInterval = 15 * time.Second
	firstRetry      = 500 * time.Millisecond
	lastRetry       = time.Minute
)

// DeployerOptions is what a [Deployer] works with.
type DeployerOptions struct {
	Folder  string       // of manifests, followed with its subfolders; made if it is not there
	Config  *rest.Config // of the API server, with the rights of an administrator
	Node    string       // name of this node: events are about it, and records are its
	Disable []string     // components to remove: names of files, without extension

	// Interval is the time between two looks at the folder when the kernel reports no change; zero: 15 s.
	Interval time.Duration
	Log      *slog.Logger // nil: none
}

// A Deployer makes a cluster agree with a folder of manifests. The package comment says what it promises.
type Deployer struct {
	options DeployerOptions
	cluster *cluster
	events  eventrecord.EventRecorder

	files map[string]*progress // those in the folder, by relative path

	mu      sync.Mutex // guards records, which Status reads
	records map[string]record
}

// progress is how far the deployer is with one file as it is now.
type progress struct {
	file
	since    time.Time // when it was first seen so
	read     bool      // wanted is known
	applied  bool      // all of it is in the cluster
	done     bool      // nothing to do until the file changes
	failures int       // attempts in a row
	retryAt  time.Time
	wanted   []Reference // the objects it has
}

// NewDeployer returns a deployer; [Deployer.Run] makes it work.
func NewDeployer(options DeployerOptions) (*Deployer, error) {
	if options.Folder == "" || options.Config == nil || options.Node == "" {
		return nil, errors.New("addons: a deployer needs a folder, a connection and a node name")
	}
	options.Interval = cmp.Or(options.Interval, defaultInterval)
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	cluster, err := connect(options.Config)
	if err != nil {
		return nil, fmt.Errorf("addons: %w", err)
	}
	return &Deployer{
		options: options,
		cluster: cluster,
		files:   map[string]*progress{},
		records: map[string]record{},
	}, nil
}

// Run follows the folder until ctx ends, and then returns nil. Whatever goes wrong with a
// file or with the API server is reported and tried again; only a folder that cannot be made ends it earlier.
func (d *Deployer) Run(ctx context.Context) error {
	if err := os.MkdirAll(d.options.Folder, 0o700); err != nil {
		return fmt.Errorf("manifests folder: %w", err)
	}
	broadcaster := eventrecord.NewBroadcaster(eventrecord.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: d.cluster.typed.CoreV1().Events("")})
	d.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: fieldManager, Host: d.options.Node})

	if !d.loadRecords(ctx) {
		return nil
	}
	changes := watch(ctx, d.options.Folder, d.options.Log)
	for {
		next, err := d.sync(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			d.options.Log.Error("manifests are not applied", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		case <-time.After(next):
		}
	}
}

// loadRecords reads the cluster's records, however long it takes. It returns false if ctx ended first.
func (d *Deployer) loadRecords(ctx context.Context) bool {
	for {
		records, damaged, err := readRecords(ctx, d.cluster.typed)
		if err == nil {
			for _, err := range damaged {
				d.options.Log.Error("a record of an applied manifest is damaged; its objects stay when the file no longer has them", "error", err)
			}
			d.mu.Lock()
			d.records = records
			d.mu.Unlock()
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second):
			d.options.Log.Warn("waiting for the API server", "error", err)
		}
	}
}

// Status returns what became of each file of this node's, sorted by name.
func (d *Deployer) Status() []FileStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	statuses := make([]FileStatus, 0, len(d.records))
	for _, name := range slices.Sorted(maps.Keys(d.records)) {
		r := d.records[name]
		if r.node != d.options.Node {
			continue
		}
		r.Objects = slices.Clone(r.Objects)
		statuses = append(statuses, r.FileStatus)
	}
	return statuses
}

// record returns the record of a file, an empty one if there is none yet.
func (d *Deployer) record(name string) record {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.records[name]
	r.File, r.node = name, d.options.Node
	return r
}

// remember makes r the record of its file, here and in the cluster, and tells of a change of state.
func (d *Deployer) remember(ctx context.Context, r record) error {
	d.mu.Lock()
	old, found := d.records[r.File]
	d.mu.Unlock()
	if found && old.equal(r) {
		return nil
	}
	if err := writeRecord(ctx, d.cluster.typed, r); err != nil {
		return err
	}
	d.mu.Lock()
	d.records[r.File] = r
	d.mu.Unlock()
	if old.State != r.State || old.Message != r.Message {
		d.announce(r.FileStatus)
	}
	return nil
}

// forget removes the record of a file that left nothing in the cluster.
func (d *Deployer) forget(ctx context.Context, name string) error {
	if err := deleteRecord(ctx, d.cluster.typed, name); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.records, name)
	d.mu.Unlock()
	d.options.Log.Info("manifest removed", "file", name)
	return nil
}

func (d *Deployer) announce(status FileStatus) {
	node := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: d.options.Node, UID: types.UID(d.options.Node)}
	switch status.State {
	case Applied:
		d.options.Log.Info("manifest applied", "file", status.File, "objects", len(status.Objects))
		d.events.Eventf(node, corev1.EventTypeNormal, "ManifestApplied", "%s", status.File)
	case Failed:
		d.options.Log.Error("manifest failed", "file", status.File, "error", status.Message)
		d.events.Event(node, corev1.EventTypeWarning, "ManifestFailed", shorten(status.File+": "+status.Message))
	case Pending:
		if status.Message != "" {
			d.options.Log.Info("manifest waits", "file", status.File, "for", status.Message)
		}
	}
}
