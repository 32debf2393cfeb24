package datastore

import (
	"context"
	"database/sql"
	"math"
	"syscall"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"airgap/node/config"
)

// observed is kine's backend with two things added: [health] learns from every answer, and a write that
// the store has refused is an error.
//
// kine 0.17.5 loses that error (pkg/logstructured: the inner err shadows the one of Append). Under a full disk or a read-only
// database it answers a create as done, and an update or a deletion as a conflict with the very revision it was
// made for; the API server then believes in an object that is not there, or tries again without end. Both answers can be told
// from true ones: what was created is there, and a conflict has another revision. For a key that was there before and is
// made anew kine also answers with another revision than the key's, for the same reason; Create puts that right.
type observed struct {
	server.Backend
	health *health
	db     *sql.DB // connections of our own, to learn why a write was refused
	dir    string  // of SQLite's files
}

// tries are how often a refused write is made before it is an error: a deadlock passes, a full disk does not.
const tries = 3

func (o *observed) Create(ctx context.Context, key string, value []byte, lease int64) (int64, error) {
	began := time.Now()
	for try := 1; ; try++ {
		rev, err := o.Backend.Create(ctx, key, value, lease)
		if err == nil {
			var kv *server.KeyValue
			_, kv, err = o.Backend.Get(ctx, key, 0, true)
			switch {
			case err != nil:
			case kv != nil:
				rev = kv.CreateRevision
			case again(ctx, try):
				continue
			default:
				err = o.refused(ctx, key)
			}
		}
		o.health.write(err, time.Since(began))
		return rev, err
	}
}

func (o *observed) Update(ctx context.Context, key string, value []byte, revision, lease int64) (int64, *server.KeyValue, bool, error) {
	began := time.Now()
	for try := 1; ; try++ {
		rev, kv, updated, err := o.Backend.Update(ctx, key, value, revision, lease)
		if err == nil && !updated && kv != nil && kv.ModRevision == revision {
			if again(ctx, try) {
				continue
			}
			err = o.refused(ctx, key)
		}
		if updated || err != nil {
			o.health.write(err, time.Since(began))
		}
		return rev, kv, updated, err
	}
}

func (o *observed) Delete(ctx context.Context, key string, revision int64) (int64, *server.KeyValue, bool, error) {
	began := time.Now()
	for try := 1; ; try++ {
		rev, kv, deleted, err := o.Backend.Delete(ctx, key, revision)
		if err == nil && !deleted && kv != nil && kv.ModRevision == revision {
			if again(ctx, try) {
				continue
			}
			err = o.refused(ctx, key)
		}
		if deleted || err != nil {
			o.health.write(err, time.Since(began))
		}
		return rev, kv, deleted, err
	}
}

// again waits a moment before another try, if there is to be one.
func again(ctx context.Context, try int) bool {
	if try >= tries {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(try) * 20 * time.Millisecond):
		return true
	}
}

// refusal is the error of a write that the store did not take.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// GRPCStatus is what clients of etcd's protocol see.
func (r *refusal) GRPCStatus() *status.Status {
	return status.New(codes.Unavailable, "the datastore takes no writes: "+r.reason)
}

// refused is the error of a write of key. Why the store did not take it, a write that changes nothing tells.
func (o *observed) refused(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := o.db.ExecContext(ctx, "UPDATE kine SET lease = lease WHERE name = 'compact_rev_key'")
	if err == nil && o.health.store.Kind == config.SQLite && freeBytes(o.dir) < scarceBytes {
		err = syscall.ENOSPC // for more than the few pages that this write took
	}
	if err == nil {
		return &refusal{"it did not take " + key + ", and does not say why"}
	}
	return &refusal{explain(o.health.store, err)}
}

// scarceBytes are so few that SQLite's log may not find room for an object in them.
const scarceBytes = 4 << 20

func freeBytes(dir string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return math.MaxInt64
	}
	return int64(fs.Bavail) * fs.Bsize
}

func (o *observed) Get(ctx context.Context, key string, revision int64, keysOnly bool) (int64, *server.KeyValue, error) {
	began := time.Now()
	rev, kv, err := o.Backend.Get(ctx, key, revision, keysOnly)
	o.health.read(err, time.Since(began))
	return rev, kv, err
}

func (o *observed) List(ctx context.Context, key, end string, limit, revision int64, keysOnly bool) (int64, []*server.KeyValue, error) {
	began := time.Now()
	rev, kvs, err := o.Backend.List(ctx, key, end, limit, revision, keysOnly)
	o.health.read(err, time.Since(began))
	return rev, kvs, err
}

func (o *observed) Count(ctx context.Context, key, end string, revision int64) (int64, int64, error) {
	began := time.Now()
	rev, n, err := o.Backend.Count(ctx, key, end, revision)
	o.health.read(err, time.Since(began))
	return rev, n, err
}
