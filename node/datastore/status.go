package datastore

import (
	"context"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"

	"airgap/node/config"
)

// Status is how a datastore stands.
type Status struct {
	Datastore string `json:"datastore"`
	Bytes     int64  `json:"bytes"`              // on the disk, the log not counted
	LogBytes  int64  `json:"logBytes,omitempty"` // SQLite's write-ahead log
	Keys      int64  `json:"keys"`               // of Kubernetes, as they stand
	Rows      int64  `json:"rows,omitempty"`     // of kine's table: keys, and what the next compactions remove
	Revision  int64  `json:"revision"`
	Compacted int64  `json:"compacted,omitempty"` // the revision below which there is no history; not known for etcd
}

// sizeSQL is the size of kine's table with its indexes, in bytes.
var sizeSQL = map[config.DatastoreKind]string{
	config.PostgreSQL: "SELECT pg_total_relation_size('kine')",
	config.MySQL:      "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED) FROM information_schema.TABLES WHERE table_schema = DATABASE() AND table_name = 'kine'",
	config.SQLite:     "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
}

// ReadStatus asks a datastore, whether a server runs on it or not. dir is the folder of this node's SQLite files.
func ReadStatus(ctx context.Context, s config.Datastore, dir string) (*Status, error) {
	status, err := readStatus(ctx, s, dir)
	if err != nil {
		return nil, plain(s, err)
	}
	return status, nil
}

func readStatus(ctx context.Context, s config.Datastore, dir string) (*Status, error) {
	status := &Status{Datastore: s.String()}
	if s.Kind == config.Etcd {
		return status, status.readEtcd(ctx, s)
	}
	if s.Kind == config.SQLite {
		if _, err := os.Stat(sqlitePath(dir)); err != nil {
			return nil, err
		}
		if wal, err := os.Stat(sqlitePath(dir) + "-wal"); err == nil {
			status.LogBytes = wal.Size()
		}
	}
	db, err := connect(s, dir)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for _, ask := range []struct {
		query  string
		answer *int64
	}{
		{"SELECT COUNT(*)" + liveRows, &status.Keys},
		{"SELECT COUNT(*) FROM kine", &status.Rows},
		{"SELECT COALESCE(MAX(id), 0) FROM kine", &status.Revision},
		{"SELECT COALESCE(MAX(prev_revision), 0) FROM kine WHERE name = 'compact_rev_key'", &status.Compacted},
		{sizeSQL[s.Kind], &status.Bytes},
	} {
		if err := db.QueryRowContext(ctx, ask.query).Scan(ask.answer); err != nil {
			return nil, err
		}
	}
	return status, nil
}

func (status *Status) readEtcd(ctx context.Context, s config.Datastore) error {
	if err := reachEtcd(ctx, s); err != nil {
		return err
	}
	client, err := etcdClient(ctx, s)
	if err != nil {
		return err
	}
	defer client.Close()
	keys, err := client.Get(ctx, keyPrefix, clientv3.WithRange(keyPrefixTo), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	status.Keys, status.Revision = keys.Count, keys.Header.Revision
	member, err := client.Status(ctx, s.Members()[0])
	if err != nil {
		return err
	}
	status.Bytes = member.DbSize
	return nil
}
