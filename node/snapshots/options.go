package snapshots

import (
	"errors"
	"fmt"

	"airgap/internal/snapshot"
	"airgap/node/config"
)

// Versions are those of the program that makes a snapshot.
type Versions struct{ Airgap, Kubernetes string }

// Options are what a snapshot of the server takes, but for its prefix. cfg is complete, with the node's name.
func Options(cfg *config.Server, v Versions) snapshot.Options {
	p := config.PathsOf(cfg.DataDir)
	return snapshot.Options{
		Database: p.Database(), Parts: p.Identity(), Folder: cfg.Snapshots.Dir, Scratch: p.Snapshots(),
		About: snapshot.About{Node: cfg.NodeName, Airgap: v.Airgap, Kubernetes: v.Kubernetes, Settings: cfg.DatastoreSettings()},
	}
}

// ErrElsewhere is a datastore that is not on this machine.
var ErrElsewhere = errors.New("snapshots are of SQLite")

// ownTools make the backups of datastores that are not SQLite.
var ownTools = map[config.DatastoreKind]string{
	config.PostgreSQL: "pg_dump --format=custom",
	config.MySQL:      "mysqldump --single-transaction",
	config.Etcd:       "etcdctl snapshot save",
}

// Supported refuses a datastore of which no snapshots can be made here.
func Supported(store config.Datastore, p config.Paths) error {
	if store.Kind == config.SQLite {
		return nil
	}
	return fmt.Errorf("%w, and this server's datastore is %s: save it with its own tool (%s), and with it %s, %s and %s, without which it cannot be read",
		ErrElsewhere, store, ownTools[store.Kind], p.TLS(), p.Cred(), p.Identity()["token"])
}
