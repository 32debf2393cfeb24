// Package datastore gives the API server an etcd endpoint: kine in this process over
// SQLite, or over the database that an endpoint names.
package datastore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/endpoint"
)

// sqliteParams differ from kine's own in synchronous=FULL: with NORMAL a power cut may
// take back writes that the API server has already acknowledged. Startup's VACUUM is
// left out: it rewrites the whole database at each start. There is no shared cache: under a
// file: URI, unlike under kine's plain path, SQLite honours it, and readers then fail with "table is locked".
const sqliteParams = "_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate" +
	"&_stmt_cache_size=20&_kine_disable_startup_vacuum=1"

// Options say where the data is.
type Options struct {
	Endpoint string // empty: SQLite in Dir; else as K3s' --datastore-endpoint
	Dir      string // absolute folder of the SQLite files
	Socket   string // absolute path of the unix socket to serve on
}

// Datastore is a running datastore.
type Datastore struct {
	Endpoints []string // etcd endpoints, for the API server

	running sync.WaitGroup
}

// Start opens the datastore and serves it until ctx is done. Use Wait to know that
// all its files are closed.
func Start(ctx context.Context, o Options) (*Datastore, error) {
	backend := o.Endpoint
	if backend == "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("datastore: %w", err)
		}
		backend = "sqlite://file:" + filepath.Join(o.Dir, "state.db") + "?" + sqliteParams
	}
	d := &Datastore{}
	etcd, err := endpoint.Listen(ctx, endpoint.Config{
		WaitGroup:           &d.running,
		Listener:            "unix://" + o.Socket,
		Endpoint:            backend,
		EmulatedETCDVersion: "3.6.11", // at least 3.4.25, so that the API server asks for watch progress
		NotifyInterval:      5 * time.Second,
		CompactTimeout:      5 * time.Second,
		CompactMinRetain:    1000,
		CompactBatchSize:    1000,
		PollBatchSize:       500,
		PollInterval:        time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("datastore: %w", err)
	}
	d.Endpoints = etcd.Endpoints
	return d, nil
}

// Wait returns when everything that Start began has ended, after its context is done.
func (d *Datastore) Wait() { d.running.Wait() }
