package datastore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"airgap/node/config"
)

const (
	pageKeys = 500     // read at a time
	maxRaise = 500_000 // writes that are made to bring etcd's revision up to the source's
	raisers  = 64      // of them at the same time

	// migrationMark stands in etcd while a copy is incomplete, outside of Kubernetes' keys.
	migrationMark = "airgap/migration"

	// etcd takes 128 operations in a transaction, and 1.5 MiB in a request.
	maxOperations = 100
)

// etcdSide is an external etcd; keys that are not of Kubernetes are left alone.
type etcdSide struct {
	store  config.Datastore
	client *clientv3.Client
}

func openEtcdSide(ctx context.Context, s config.Datastore) (*etcdSide, error) {
	if err := reachEtcd(ctx, s); err != nil {
		return nil, err
	}
	client, err := etcdClient(ctx, s)
	if err != nil {
		return nil, err
	}
	return &etcdSide{s, client}, nil
}

func (e *etcdSide) close() { e.client.Close() }

func (e *etcdSide) read(ctx context.Context, begin func(revision, bytes int64) error, visit func(record) error) error {
	ttls := map[int64]int64{} // by lease
	var revision int64
	for from := keyPrefix; ; {
		page, err := e.client.Get(ctx, from, clientv3.WithRange(keyPrefixTo), clientv3.WithLimit(pageKeys), clientv3.WithRev(revision))
		if err != nil {
			return err
		}
		if revision == 0 {
			revision = page.Header.Revision
			if err := begin(revision, 0); err != nil {
				return err
			}
		}
		for _, kv := range page.Kvs {
			from = string(kv.Key) + "\x00"
			if string(kv.Key) == healthKey {
				continue
			}
			ttl, err := e.ttl(ctx, ttls, kv.Lease)
			if err != nil {
				return err
			}
			if err := visit(record{string(kv.Key), kv.Value, ttl}); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}

// ttl is what is left of a lease, in seconds, at least one; 0 for no lease.
func (e *etcdSide) ttl(ctx context.Context, known map[int64]int64, lease int64) (int64, error) {
	if lease == 0 {
		return 0, nil
	}
	if ttl, ok := known[lease]; ok {
		return ttl, nil
	}
	left, err := e.client.TimeToLive(ctx, clientv3.LeaseID(lease))
	if err != nil {
		return 0, err
	}
	known[lease] = max(left.TTL, 1)
	return known[lease], nil
}

func (e *etcdSide) write(ctx context.Context, m Migration, from side, c *copying) (revision int64, err error) {
	if err := e.empty(ctx, m.Overwrite); err != nil {
		return 0, err
	}
	w := &keyWriter{etcdSide: e, ctx: ctx, leases: map[int64]clientv3.LeaseID{}}
	err = from.read(ctx, c.begin, func(r record) error {
		c.count(r)
		return w.add(r)
	})
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = c.verify(ctx, e)
	}
	if err == nil {
		revision, err = e.raise(ctx, c.revision)
	}
	if err != nil {
		return 0, fmt.Errorf("the copy in %s is incomplete (run it again): %w", e.store, err)
	}
	_, err = e.client.Delete(ctx, migrationMark)
	return revision, err
}

// empty makes room: it returns ErrNotEmpty if there are keys that may not be removed, and removes those of a copy that did not
// come to its end.
func (e *etcdSide) empty(ctx context.Context, overwrite bool) error {
	mark, err := e.client.Get(ctx, migrationMark, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	keys, err := e.client.Get(ctx, keyPrefix, clientv3.WithRange(keyPrefixTo), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	if keys.Count > 0 && mark.Count == 0 && !overwrite {
		return fmt.Errorf("%w: %s holds %d keys", ErrNotEmpty, e.store, keys.Count)
	}
	if _, err := e.client.Put(ctx, migrationMark, ""); err != nil {
		return err
	}
	_, err = e.client.Delete(ctx, keyPrefix, clientv3.WithRange(keyPrefixTo))
	return err
}

// raise makes writes until the revision is at least the wanted one, unless that is too far away, and compacts what was before, so that
// clients with an older resourceVersion list again.
func (e *etcdSide) raise(ctx context.Context, wanted int64) (int64, error) {
	now, err := e.client.Get(ctx, migrationMark)
	if err != nil {
		return 0, err
	}
	revision := now.Header.Revision
	if missing := wanted - revision; missing > 0 && missing <= maxRaise {
		var all sync.WaitGroup
		var left atomic.Int64
		left.Store(missing)
		failed := make(chan error, raisers)
		for range raisers {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if _, err := e.client.Put(ctx, migrationMark, ""); err != nil {
						failed <- err
						return
					}
				}
			})
		}
		all.Wait()
		select {
		case err := <-failed:
			return 0, err
		default:
		}
		revision = wanted
	}
	_, err = e.client.Compact(ctx, revision)
	return revision, err
}

// keyWriter puts keys, many in one transaction, and grants one lease for each time to live.
type keyWriter struct {
	*etcdSide
	ctx    context.Context
	leases map[int64]clientv3.LeaseID
	ops    []clientv3.Op
	bytes  int
}

func (w *keyWriter) add(r record) error {
	var options []clientv3.OpOption
	if r.ttl > 0 {
		lease, ok := w.leases[r.ttl]
		if !ok {
			granted, err := w.client.Grant(w.ctx, r.ttl)
			if err != nil {
				return err
			}
			lease = granted.ID
			w.leases[r.ttl] = lease
		}
		options = append(options, clientv3.WithLease(lease))
	}
	size := len(r.key) + len(r.value)
	if len(w.ops) >= maxOperations || w.bytes+size > batchBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.ops = append(w.ops, clientv3.OpPut(r.key, string(r.value), options...))
	w.bytes += size
	return nil
}

func (w *keyWriter) flush() error {
	if len(w.ops) == 0 {
		return nil
	}
	_, err := w.client.Txn(w.ctx).Then(w.ops...).Commit()
	w.ops, w.bytes = w.ops[:0], 0
	return err
}
