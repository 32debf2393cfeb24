package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"airgap/internal/atomicfile"
	"airgap/node/config"
	"airgap/node/controlplane"
	"airgap/node/datastore"
	"airgap/node/snapshots"
)

// repairDatastore sees to it that the start finds a sound datastore. One that is beyond repair keeps no node from starting: its
// control plane waits, says why, and the pods go on.
func repairDatastore(ctx context.Context, cfg *config.Server) error {
	store, err := cfg.Datastore()
	if err != nil || store.Kind != config.SQLite {
		return err
	}
	paths := config.PathsOf(cfg.DataDir)
	done, err := datastore.Repair(ctx, datastore.RepairOptions{
		Dir: paths.DB(), Snapshots: cfg.Snapshots.Dir, Parts: map[string]string{"cred": paths.Cred()},
	})
	if done.Resumed != "" {
		klog.InfoS("finished a restore that had been cut off", "snapshot", done.Resumed)
	}
	if errors.Is(err, datastore.ErrDamaged) {
		klog.ErrorS(err, "the datastore cannot be used")
		return nil
	}
	if err != nil || done.Problem == "" {
		return err
	}
	repair := config.Repair{Time: time.Now().UTC(), What: "datastore", Damage: done.Problem, Aside: done.Aside}
	if done.Rebuilt {
		repair.Done = "its indexes were made anew; nothing is lost"
	} else {
		repair.Done = fmt.Sprintf("it was restored from the snapshot %s of %s; what was written since is lost", filepath.Base(done.Snapshot.File), done.Snapshot.Created.Format(time.RFC3339))
		repair.Remedy = "look at the machine's disk, and apply again what was changed since the snapshot"
	}
	noteRepair(paths, repair)
	return nil
}

// noteRepair tells of a repair: in the log, and in the file that `airgap status` and the node's events are made from.
func noteRepair(paths config.Paths, r config.Repair) {
	klog.ErrorS(nil, "damage was found and repaired", "what", r.What, "damage", r.Damage, "done", r.Done, "aside", r.Aside, "remedy", r.Remedy)
	list, err := config.ReadRepairs(paths)
	if err != nil {
		klog.ErrorS(err, "the list of repairs cannot be read and is begun anew", "file", paths.Repairs())
		list = nil
	}
	list = append(list, r)
	if len(list) > config.MaxRepairs {
		list = list[len(list)-config.MaxRepairs:]
	}
	if err := errors.Join(os.MkdirAll(paths.Agent(), 0o700), atomicfile.WriteJSON(paths.Repairs(), list, 0o600)); err != nil {
		klog.ErrorS(err, "the repair cannot be noted", "file", paths.Repairs())
	}
}

// repairsOf tells of the repairs of the agent of a node.
func repairsOf(dataDir string) func(config.Repair) {
	return func(r config.Repair) { noteRepair(config.PathsOf(dataDir), r) }
}

// eventsFor is how long after a repair a start still makes an event of it.
const eventsFor = time.Hour

// repairsAddOn makes an event of each recent repair, at the node.
func repairsAddOn(cfg *config.Server) controlplane.AddOn {
	return controlplane.AddOn{Name: "repairs", Run: func(ctx context.Context, client *rest.Config) error {
		api, err := kubernetes.NewForConfig(client)
		if err != nil {
			return err
		}
		told := map[time.Time]bool{}
		for { // the agent, another process, may still be at it
			list, err := config.ReadRepairs(config.PathsOf(cfg.DataDir))
			if err != nil {
				klog.ErrorS(err, "the list of repairs cannot be read")
			}
			for _, r := range list {
				if time.Since(r.Time).Abs() > eventsFor || told[r.Time] {
					continue
				}
				told[r.Time] = true
				if err := tellEvent(ctx, api, cfg.NodeName, r); err != nil && ctx.Err() == nil {
					klog.ErrorS(err, "a repair cannot be made an event")
				}
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Minute):
			}
		}
	}}
}

// maxEventBytes is the API's limit of an event's message.
const maxEventBytes = 1024

func tellEvent(ctx context.Context, api kubernetes.Interface, node string, r config.Repair) error {
	message := fmt.Sprintf("%s: %s. Found: %s", r.What, r.Done, r.Damage)
	when := metav1.NewTime(r.Time)
	_, err := api.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: node + ".repair-"},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: node, UID: "", APIVersion: "v1"},
		Reason:         "Repaired", Message: message[:min(len(message), maxEventBytes)], Type: corev1.EventTypeWarning,
		Source: corev1.EventSource{Component: "airgap", Host: node}, FirstTimestamp: when, LastTimestamp: when, Count: 1,
	}, metav1.CreateOptions{})
	return err
}

// snapshotsAddOn makes snapshots of the datastore by schedule.
func snapshotsAddOn(cfg *config.Server, airgap string) controlplane.AddOn {
	return controlplane.AddOn{Name: "snapshots", Run: func(ctx context.Context, _ *rest.Config) error {
		store, err := cfg.Datastore()
		if err != nil {
			return err
		}
		if store.Kind == config.SQLite && !cfg.Snapshots.Disabled {
			paths := config.PathsOf(cfg.DataDir)
			scheduler := &snapshots.Scheduler{
				Settings: cfg.Snapshots, State: paths.SnapshotState(), Log: slog.Default(),
				Options: snapshots.Options(cfg, snapshots.Versions{Airgap: airgap, Kubernetes: version.Get().GitVersion}),
			}
			scheduler.Run(ctx)
		}
		<-ctx.Done()
		return nil
	}}
}
