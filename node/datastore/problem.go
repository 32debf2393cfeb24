package datastore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"airgap/node/config"
)

// A remedy is what to do about a kind of failure; %s stands for where the store is.
const (
	remedyDown        = "it does not answer on %s; start it there, or correct datastore-endpoint"
	remedyName        = "the name in %s is not known here; correct datastore-endpoint, or /etc/hosts"
	remedyLogin       = "%s refuses the user or the password; correct datastore-endpoint"
	remedyTrust       = "the certificate of %s is not trusted; give its authority with datastore-cafile, and use a name that the certificate has"
	remedyFull        = "no space is left on %s; free some, or move the database to a larger disk"
	remedyReadOnly    = "%s is read-only; make it writable (for a server: point datastore-endpoint at the primary)"
	remedyConnections = "%s takes no more connections; raise its limit"
	remedyDatabase    = "the database is not on %s and may not be made by this user; create it, with the user as its owner"
	remedyDamaged     = "the database is damaged: stop the node, copy server/db/state.db and its -wal file aside, and restore the last copy (or save what `sqlite3 FILE .recover` can read)"
	remedyDisk        = "the disk under %s fails: look at the kernel's log"
	remedyFile        = "a file for TLS is missing or unreadable; correct datastore-cafile, -certfile, -keyfile"
	remedySlow        = "%s did not answer in time; look at its load and at the network"
)

// explain says in plain words what is wrong with a store and what to do, then what the library said.
func explain(s config.Datastore, err error) string {
	var refused *refusal
	if errors.As(err, &refused) {
		return refused.reason
	}
	where := s.Host
	if s.Kind == config.SQLite {
		where = "the data folder"
	}
	text := strings.Join(strings.Fields(s.Redact(err.Error())), " ")
	if len(text) > 400 {
		text = text[:400] + "…"
	}
	if remedy := remedyFor(err); remedy != "" {
		return strings.Replace(remedy, "%s", where, 1) + " (" + text + ")"
	}
	return text
}

// kindOf is an explanation without the library's words, which may differ from one failure to the next.
func kindOf(explanation string) string {
	kind, _, _ := strings.Cut(explanation, " (")
	return kind
}

func remedyFor(err error) string {
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	var lite sqlite3.Error
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var path *fs.PathError
	var network *net.OpError
	switch {
	case errors.As(err, &pg):
		return postgresRemedies[pg.Code]
	case errors.As(err, &my):
		return mysqlRemedies[my.Number]
	case errors.Is(err, ErrDamaged):
		return remedyDamaged
	case errors.As(err, &lite):
		return sqliteRemedies[lite.Code]
	case errors.As(err, &dns):
		return remedyName
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &invalid), errors.As(err, &verification):
		return remedyTrust
	case errors.Is(err, syscall.ENOSPC):
		return remedyFull
	case errors.Is(err, syscall.EROFS):
		return remedyReadOnly
	case errors.As(err, &path):
		return remedyFile
	case errors.Is(err, context.DeadlineExceeded):
		return remedySlow
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, driver.ErrBadConn),
		errors.Is(err, mysql.ErrInvalidConn), status.Code(err) == codes.Unavailable:
		return remedyDown
	}
	return ""
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html
var postgresRemedies = map[string]string{
	"28P01": remedyLogin, "28000": remedyLogin,
	"3D000": remedyDatabase, "42501": remedyDatabase,
	"53100": remedyFull, "53300": remedyConnections, "25006": remedyReadOnly,
	"57P01": remedyDown, "57P02": remedyDown, "57P03": remedyDown,
}

// https://mariadb.com/kb/en/mariadb-error-code-reference/
var mysqlRemedies = map[uint16]string{
	1044: remedyDatabase, 1049: remedyDatabase, 1045: remedyLogin, 1698: remedyLogin,
	1021: remedyFull, 1114: remedyFull, 1290: remedyReadOnly, 1836: remedyReadOnly,
	1040: remedyConnections, 1203: remedyConnections, 1053: remedyDown,
}

var sqliteRemedies = map[sqlite3.ErrNo]string{
	sqlite3.ErrFull: remedyFull, sqlite3.ErrReadonly: remedyReadOnly,
	sqlite3.ErrCorrupt: remedyDamaged, sqlite3.ErrNotADB: remedyDamaged, sqlite3.ErrIoErr: remedyDisk,
}
