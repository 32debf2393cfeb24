package datastore

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"airgap/node/config"
)

// patience is how long a datastore may take to answer the first question.
const patience = 5 * time.Second

// dataSource returns what kine's driver for the kind of s wants after "scheme://", everything filled in:
// the database's name, and the files for TLS.
func dataSource(s config.Datastore, dir string) (string, error) {
	switch s.Kind {
	case config.PostgreSQL:
		u, err := postgresURL(s)
		if err != nil {
			return "", err
		}
		return strings.TrimPrefix(u, "postgres://"), nil
	case config.MySQL:
		c, err := mysqlConfig(s)
		if err != nil {
			return "", err
		}
		return c.FormatDSN(), nil
	}
	return sqliteDSN(dir), nil
}

// postgresURL is the endpoint with the database's name and the files for TLS. Files without an sslmode mean that the
// server is verified.
func postgresURL(s config.Datastore) (string, error) {
	u, err := url.Parse(s.Endpoint())
	if err != nil {
		return "", errors.New("the endpoint is not a valid URL")
	}
	u.Scheme, u.Path = "postgres", "/"+s.Database
	query := u.Query()
	for name, file := range map[string]string{"sslrootcert": s.CAFile, "sslcert": s.CertFile, "sslkey": s.KeyFile} {
		if file == "" {
			continue
		}
		if !query.Has(name) {
			query.Set(name, file)
		}
		if !query.Has("sslmode") {
			query.Set("sslmode", "verify-full")
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// mysqlTLS is the name that the TLS configuration has in the MySQL driver's table.
const mysqlTLS = "airgap"

func mysqlConfig(s config.Datastore) (*mysql.Config, error) {
	c, err := mysql.ParseDSN(strings.TrimPrefix(s.Endpoint(), "mysql://"))
	if err != nil {
		return nil, err
	}
	c.DBName = s.Database
	if s.CAFile != "" || s.CertFile != "" {
		files, err := tlsFiles(s).ClientConfig()
		if err != nil {
			return nil, err
		}
		if err := mysql.RegisterTLSConfig(mysqlTLS, files); err != nil {
			return nil, err
		}
		c.TLSConfig = mysqlTLS
	}
	return c, nil
}

func tlsFiles(s config.Datastore) transport.TLSInfo {
	return transport.TLSInfo{TrustedCAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile}
}

// connect returns connections of our own to an SQL datastore, beside kine's. None is opened yet.
func connect(s config.Datastore, dir string) (*sql.DB, error) {
	source, err := dataSource(s, dir)
	if err != nil {
		return nil, err
	}
	var db *sql.DB
	switch s.Kind {
	case config.PostgreSQL:
		c, err := pgx.ParseConfig("postgres://" + source)
		if err != nil {
			return nil, err
		}
		db = stdlib.OpenDB(*c)
	case config.MySQL:
		_ = mysql.SetLogger(nopLogger{}) // fails on nil alone; every error is returned as well
		if db, err = sql.Open("mysql", source); err != nil {
			return nil, err
		}
	case config.SQLite:
		if db, err = sql.Open("sqlite3", source); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s is no SQL database", s.Kind)
	}
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(10 * time.Second)
	return db, nil
}

// nopLogger keeps the MySQL driver from writing to standard error.
type nopLogger struct{}

func (nopLogger) Print(...any) {}

// reach asks the database a question. A database that the server does not have yet is no error: kine makes it.
func reach(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := db.PingContext(ctx)
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	if errors.As(err, &pg) && pg.Code == "3D000" || errors.As(err, &my) && my.Number == 1049 {
		return nil
	}
	return err
}

// etcdClient returns a client for an external etcd, or for kine on a unix socket.
func etcdClient(ctx context.Context, s config.Datastore) (*clientv3.Client, error) {
	c := clientv3.Config{Context: ctx, Endpoints: s.Members(), DialTimeout: patience, Logger: zap.NewNop()}
	if strings.HasPrefix(s.Endpoint(), "https://") {
		files, err := tlsFiles(s).ClientConfig()
		if err != nil {
			return nil, err
		}
		c.TLS = files
	}
	return clientv3.New(c)
}

// reachEtcd asks etcd for its state.
func reachEtcd(ctx context.Context, s config.Datastore) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := etcdClient(ctx, s)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Get(ctx, healthKey)
	return etcdReason(s, err)
}

// etcdReason finds out why etcd's client has waited in vain, which it does not tell.
func etcdReason(s config.Datastore, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, host := range strings.Split(s.Host, ",") {
		dialer := &net.Dialer{Timeout: patience}
		conn, reason := dialer.Dial("tcp", host)
		if reason == nil {
			if c, tlsErr := tlsFiles(s).ClientConfig(); tlsErr == nil && strings.HasPrefix(s.Endpoint(), "https://") {
				c.ServerName, _, _ = net.SplitHostPort(host)
				_ = conn.SetDeadline(time.Now().Add(patience))
				reason = tls.Client(conn, c).Handshake()
			}
			conn.Close()
		}
		if reason != nil {
			return reason
		}
	}
	return err
}

const (
	healthKey   = "/registry/health" // kine's, and what a look at etcd's health reads
	etcdLooks   = 3 * time.Second    // between looks at an external etcd
	keyPrefix   = "/registry/"       // of all keys of Kubernetes
	keyPrefixTo = "/registry0"       // the first key after them
)

// watchEtcd looks at an external etcd until ctx is done: the API server talks to it without us.
func watchEtcd(ctx context.Context, s config.Datastore, h *health) {
	client, err := etcdClient(ctx, s)
	if err != nil {
		h.log.Warn("etcd is not watched over", "error", err)
		return
	}
	defer client.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(etcdLooks):
		}
		asked, cancel := context.WithTimeout(ctx, patience)
		_, err := client.Get(asked, healthKey)
		cancel()
		if err = etcdReason(s, err); ctx.Err() == nil {
			h.read(err, 0)
		}
	}
}
