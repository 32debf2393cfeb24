package datastore

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/metrics"
	"github.com/prometheus/client_golang/prometheus"

	"airgap/node/config"
)

// Options say where the data is.
type Options struct {
	Store     config.Datastore
	Dir       string                // absolute folder of the SQLite files
	Socket    string                // absolute path of the unix socket to serve on
	StateFile string                // where a [config.DatastoreState] is kept; empty: nowhere
	Log       *slog.Logger          // nil: slog.Default
	Metrics   prometheus.Registerer // where kine's metrics are shown; nil: nowhere
}

// Datastore is a running datastore.
type Datastore struct {
	Endpoints                 []string // etcd endpoints, for the API server
	CAFile, CertFile, KeyFile string   // PEM files for TLS to them; empty: none

	running sync.WaitGroup
}

// How long a start waits before it tries a store again that did not answer.
const (
	firstPause = time.Second
	longPause  = 30 * time.Second
)

// Start opens the datastore and serves it until ctx is done. Use Wait to know that
// all its files are closed. A store that cannot be opened is tried again, more and more rarely: the
// error is ctx's.
func Start(ctx context.Context, o Options) (*Datastore, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	d := &Datastore{}
	h := newHealth(o.Store, o.StateFile, o.Log)
	logOfKine(o.Log, h)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := d.open(ctx, o, h)
		if err == nil {
			h.opened()
			break
		}
		if ctx.Err() == nil {
			h.closed(err)
		}
		select {
		case <-ctx.Done():
			d.running.Wait()
			h.forget()
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
	if o.Metrics != nil && o.Store.Kind != config.Etcd {
		for _, c := range []prometheus.Collector{metrics.SQLTotal, metrics.SQLTime, metrics.CompactTotal, metrics.InsertErrorsTotal} {
			_ = o.Metrics.Register(c) // fails if it is registered already
		}
	}
	d.running.Go(func() { <-ctx.Done(); h.forget() })
	return d, nil
}

// open tries once. What it began ends when it fails, or when ctx is done: the server first, then the store.
func (d *Datastore) open(ctx context.Context, o Options, h *health) (err error) {
	if o.Store.Kind == config.Etcd {
		if err := reachEtcd(ctx, o.Store); err != nil {
			return err
		}
		d.Endpoints = o.Store.Members()
		d.CAFile, d.CertFile, d.KeyFile = o.Store.CAFile, o.Store.CertFile, o.Store.KeyFile
		d.running.Go(func() { watchEtcd(ctx, o.Store, h) })
		return nil
	}
	storeCtx, closeStore := context.WithCancel(context.WithoutCancel(ctx))
	giveUp := context.AfterFunc(ctx, closeStore)
	defer func() {
		if err != nil {
			closeStore()
		}
	}()
	if o.Store.Kind == config.SQLite {
		if err := prepareSQLite(o.Dir); err != nil {
			return err
		}
	}
	db, err := connect(o.Store, o.Dir)
	if err != nil {
		return err
	}
	d.running.Go(func() { <-storeCtx.Done(); db.Close() })
	if err := reach(ctx, db); err != nil {
		return err
	}
	backend, err := newBackend(storeCtx, &d.running, o.Store, o.Dir)
	if err != nil {
		return err
	}
	stop, err := serve(storeCtx, &observed{Backend: backend, health: h, db: db, dir: o.Dir}, o.Socket)
	if err != nil {
		return err
	}
	giveUp()
	d.running.Go(func() {
		<-ctx.Done()
		stop()
		closeStore()
	})
	if o.Store.Kind == config.SQLite {
		d.running.Go(func() { keepWALSmall(ctx, db, filepath.Join(o.Dir, sqliteFile), walLooks, o.Log) })
	}
	d.Endpoints = []string{"unix://" + o.Socket}
	return nil
}

// Wait returns when everything that Start began has ended, after its context is done.
func (d *Datastore) Wait() { d.running.Wait() }
