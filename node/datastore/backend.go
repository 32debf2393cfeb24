package datastore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/drivers/mysql"
	"github.com/k3s-io/kine/pkg/drivers/pgsql"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"

	"airgap/node/config"
)

// kine looks for revisions that it was not told of: every serverPoll where other servers of the site write to the same
// database, and every sqlitePoll where this process alone does, and is told by its own writes.
const (
	serverPoll = time.Second
	sqlitePoll = 10 * time.Second
)

// maxServerConnections leaves PostgreSQL (100 by default) and MariaDB (151) some for others.
const maxServerConnections = 60

// sqliteConnections is few, because who waits for SQLite's lock polls for it, up to 100 ms at a time: with a connection for each
// request an unlucky one polls for seconds. Who waits for a connection is woken by the one that gives it back.
const sqliteConnections = 10

// newBackend returns kine's backend for an SQL datastore, with its table made, and not started yet.
func newBackend(ctx context.Context, running *sync.WaitGroup, s config.Datastore, dir string) (server.Backend, error) {
	source, err := dataSource(s, dir)
	if err != nil {
		return nil, err
	}
	c := &drivers.Config{
		DataSourceName: source,
		// The API server compacts every five minutes; kine does so by itself only if it has an interval.
		CompactTimeout:   5 * time.Second,
		CompactMinRetain: 1000,
		CompactBatchSize: 1000,
		PollBatchSize:    500,
		PollInterval:     serverPoll,
		// Connections that are not used any more give their page cache back.
		ConnectionPoolConfig: generic.ConnectionPoolConfig{MaxIdle: 10, MaxIdleTime: time.Minute},
	}
	var backend server.Backend
	switch s.Kind {
	case config.SQLite:
		c.PollInterval = sqlitePoll
		c.ConnectionPoolConfig.MaxOpen = sqliteConnections
		var dialect *generic.Generic
		backend, dialect, err = sqlite.NewVariant(ctx, running, "sqlite3", c)
		if err == nil {
			// A checkpoint after each compaction would wait up to 30 s for readers, and hold up writers
			// meanwhile; keepWALSmall does it without.
			dialect.PostCompactSQL = nil
		}
	case config.PostgreSQL:
		c.ConnectionPoolConfig.MaxOpen = maxServerConnections
		_, backend, err = pgsql.New(ctx, running, c)
	case config.MySQL:
		c.ConnectionPoolConfig.MaxOpen = maxServerConnections
		_, backend, err = mysql.New(ctx, running, c)
	default:
		err = fmt.Errorf("%s is no SQL database", s.Kind)
	}
	return backend, err
}
