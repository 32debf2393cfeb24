package datastore

import (
	"context"
	"crypto/x509"
	"database/sql/driver"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"

	"airgap/node/config"
)

func TestExplainSaysWhatToDo(t *testing.T) {
	store, err := config.ParseDatastore("postgres://u:s3cret@db:5432/k8s", config.DatastoreFiles{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"refused":            {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "it does not answer on db:5432; start it there"},
		"cut off":            {io.ErrUnexpectedEOF, "it does not answer on db:5432"},
		"cut off in a query": {driver.ErrBadConn, "it does not answer on db:5432"},
		"name":               {&net.DNSError{Name: "db"}, "/etc/hosts"},
		"time":               {context.DeadlineExceeded, "did not answer in time"},
		"trust":              {x509.UnknownAuthorityError{}, "datastore-cafile"},
		"TLS file":           {&os.PathError{Op: "open", Path: "/ca", Err: syscall.ENOENT}, "a file for TLS"},
		"Postgres password":  {&pgconn.PgError{Code: "28P01"}, "refuses the user or the password"},
		"Postgres full":      {&pgconn.PgError{Code: "53100"}, "no space is left on db:5432"},
		"MySQL read-only":    {&mysql.MySQLError{Number: 1290}, "db:5432 is read-only"},
		"MySQL full":         {&mysql.MySQLError{Number: 1114}, "no space is left"},
		"SQLite damaged":     {sqlite3.Error{Code: sqlite3.ErrCorrupt}, "the database is damaged"},
		"other":              {fmt.Errorf("odd: postgres://u:s3cret@db:5432/k8s"), "odd: xxxxx"},
	} {
		got := explain(store, fmt.Errorf("open: %w", test.err))
		if !strings.Contains(got, test.want) || strings.Contains(got, "s3cret") {
			t.Errorf("%s: %s, want %q", name, got, test.want)
		}
	}
}

func TestKineLogKeepsValues(t *testing.T) {
	got := withoutValue(`error in txn compare:<key:"/registry/secrets/a"> success:<request_put:<key:"/registry/secrets/a" value:"very secret: indeed" > >: disk I/O error`)
	if strings.Contains(got, "very secret") || !strings.HasSuffix(got, ": disk I/O error") || !strings.Contains(got, "/registry/secrets/a") {
		t.Error(got)
	}
}
