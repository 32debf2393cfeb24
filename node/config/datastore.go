package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DatastoreKind is what keeps the state of the cluster.
type DatastoreKind string

// The kinds of datastores.
const (
	SQLite     DatastoreKind = "SQLite"
	PostgreSQL DatastoreKind = "PostgreSQL"
	MySQL      DatastoreKind = "MySQL" // and MariaDB
	Etcd       DatastoreKind = "etcd"
)

// DefaultDatabase is the database on a server when the endpoint names none; K3s' default.
const DefaultDatabase = "kubernetes"

// Datastore is a --datastore-endpoint, parsed, with the files for TLS to it. Its text never
// has the password in it, however it is printed.
type Datastore struct {
	Kind     DatastoreKind
	Host     string // "db.site:5432", or a socket's path; several for etcd, with commas between; empty for SQLite
	Database string // empty for SQLite and etcd
	User     string

	CAFile, CertFile, KeyFile string // PEM; empty: not used

	endpoint string // as given, with the password
	password string
}

// DatastoreFiles are the files for TLS to a datastore.
type DatastoreFiles struct{ CA, Cert, Key string }

// ParseDatastore parses an endpoint as K3s' --datastore-endpoint; empty, or "sqlite", is SQLite in the data folder.
// It reports every mistake, and never the password.
func ParseDatastore(endpoint string, files DatastoreFiles) (Datastore, error) {
	d := Datastore{CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key, endpoint: endpoint}
	scheme, rest, hasScheme := strings.Cut(endpoint, "://")
	var errs []error
	switch {
	case endpoint == "" || endpoint == "sqlite":
		d.Kind = SQLite
	case scheme == "postgres" || scheme == "postgresql":
		d.Kind = PostgreSQL
		errs = append(errs, d.parsePostgres())
	case scheme == "mysql":
		d.Kind = MySQL
		errs = append(errs, d.parseMySQL(rest))
	case scheme == "http" || scheme == "https":
		d.Kind = Etcd
		errs = append(errs, d.parseEtcd())
	case hasScheme && !strings.ContainsAny(scheme, ":@/ "):
		return d, fmt.Errorf("datastore-endpoint: %q is no kind of datastore; want postgres://, mysql://, http:// or https:// (etcd)", scheme)
	default:
		return d, errors.New("datastore-endpoint: want a URL such as postgres://user:password@host:5432/database, mysql://user:password@tcp(host:3306)/database or https://etcd-1:2379")
	}
	return d, errors.Join(append(errs, d.checkFiles(scheme))...)
}

var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

func (d *Datastore) parsePostgres() error {
	u, err := url.Parse(d.endpoint)
	if err != nil { // whose text has the password
		return errors.New("datastore-endpoint: not a valid URL; characters other than letters and digits in user and password must be percent-encoded")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("datastore-endpoint: what follows the question mark is no list of name=value")
	}
	d.User = u.User.Username()
	d.password, _ = u.User.Password()
	if d.password == "" {
		d.password = query.Get("password")
	}
	d.Database = strings.ToLower(strings.Trim(u.Path, "/")) // as kine, which quotes no names
	if d.Database == "" {
		d.Database = DefaultDatabase
	}
	d.Host = u.Host
	if d.Host == "" {
		d.Host = query.Get("host")
	}
	switch {
	case d.Host == "":
		return errors.New("datastore-endpoint: no host")
	case u.Port() == "" && u.Host != "":
		d.Host = net.JoinHostPort(u.Hostname(), "5432")
	}
	mode := query.Get("sslmode")
	if mode != "" && !slices.Contains(sslModes, mode) {
		return fmt.Errorf("datastore-endpoint: sslmode %q: want one of %s", mode, strings.Join(sslModes, ", "))
	}
	if mode == "disable" && d.hasFiles() {
		return errors.New("datastore-endpoint: sslmode=disable contradicts the files for TLS")
	}
	return nil
}

// parseMySQL parses user:password@tcp(host:port)/database?parameters, by the rules of github.com/go-sql-driver/mysql:
// the last slash, and the last @ before it, divide.
func (d *Datastore) parseMySQL(dsn string) error {
	const want = "want mysql://user:password@tcp(host:3306)/database"
	slash := strings.LastIndexByte(dsn, '/')
	if slash < 0 {
		return errors.New("datastore-endpoint: no slash before the database; " + want)
	}
	address := dsn[:slash]
	d.Database, _, _ = strings.Cut(dsn[slash+1:], "?")
	if d.Database == "" {
		d.Database = DefaultDatabase
	}
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		d.User, d.password, _ = strings.Cut(address[:at], ":")
		address = address[at+1:]
	}
	protocol, host, found := strings.Cut(address, "(")
	host, closed := strings.CutSuffix(host, ")")
	switch {
	case !found || !closed || host == "":
		return errors.New("datastore-endpoint: no address in parentheses; " + want)
	case protocol != "tcp" && protocol != "unix":
		return errors.New("datastore-endpoint: the address is neither tcp(host:port) nor unix(/path); " + want)
	}
	d.Host = host
	if _, _, err := net.SplitHostPort(host); protocol == "tcp" && err != nil {
		d.Host = net.JoinHostPort(strings.Trim(host, "[]"), "3306")
	}
	return nil
}

func (d *Datastore) parseEtcd() error {
	var hosts []string
	var errs []error
	for member := range strings.SplitSeq(d.endpoint, ",") {
		u, err := url.Parse(strings.TrimSpace(member))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("datastore-endpoint: want etcd's client URLs, each in full: https://etcd-1:2379,https://etcd-2:2379")
		}
		if u.User != nil {
			d.password, _ = u.User.Password()
			errs = append(errs, errors.New("datastore-endpoint: the API server does not log in to etcd by name; use a client certificate, --datastore-certfile and --datastore-keyfile"))
		}
		if u.Port() == "" {
			errs = append(errs, fmt.Errorf("datastore-endpoint: etcd member %s has no port; etcd's own is 2379", u.Hostname()))
		}
		if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			errs = append(errs, fmt.Errorf("datastore-endpoint: etcd member %s has a path", u.Host))
		}
		hosts = append(hosts, u.Host)
	}
	d.Host = strings.Join(hosts, ",")
	return errors.Join(errs...)
}

func (d *Datastore) hasFiles() bool { return d.CAFile != "" || d.CertFile != "" || d.KeyFile != "" }

func (d *Datastore) checkFiles(scheme string) error {
	var errs []error
	if (d.CertFile == "") != (d.KeyFile == "") {
		errs = append(errs, errors.New("datastore-certfile and datastore-keyfile: one is of no use without the other"))
	}
	for _, file := range []struct{ flag, path string }{
		{"datastore-cafile", d.CAFile}, {"datastore-certfile", d.CertFile}, {"datastore-keyfile", d.KeyFile},
	} {
		if file.path != "" && !filepath.IsAbs(file.path) {
			errs = append(errs, fmt.Errorf("%s: %q is not an absolute path", file.flag, file.path))
		}
	}
	switch {
	case !d.hasFiles():
	case d.Kind == SQLite:
		errs = append(errs, errors.New("datastore-cafile, -certfile, -keyfile: SQLite is a file of this node and has no TLS; is datastore-endpoint missing?"))
	case scheme == "http":
		errs = append(errs, errors.New("datastore-endpoint: http:// contradicts the files for TLS; want https://"))
	}
	return errors.Join(errs...)
}

// Endpoint is the endpoint as it was given, with the password: for the client of the datastore alone.
func (d Datastore) Endpoint() string { return d.endpoint }

// HasPassword says whether the endpoint holds a password.
func (d Datastore) HasPassword() bool { return d.password != "" }

// Password is the endpoint's password, for those who must take it out of what others read.
func (d Datastore) Password() string { return d.password }

// Members are etcd's client URLs.
func (d Datastore) Members() []string {
	var list []string
	for member := range strings.SplitSeq(d.endpoint, ",") {
		list = append(list, strings.TrimSpace(member))
	}
	return list
}

// String says which datastore it is, without the password.
func (d Datastore) String() string {
	switch d.Kind {
	case SQLite:
		return "SQLite"
	case Etcd:
		return "etcd on " + d.Host
	}
	return fmt.Sprintf("%s database %q on %s", d.Kind, d.Database, d.Host)
}

// GoString is String: %#v shows no password either.
func (d Datastore) GoString() string { return d.String() }

// Redact takes the password out of a text that a library has made.
func (d Datastore) Redact(text string) string {
	for _, secret := range []string{d.endpoint, d.password, url.QueryEscape(d.password), url.PathEscape(d.password)} {
		if d.password != "" && secret != "" {
			text = strings.ReplaceAll(text, secret, "xxxxx")
		}
	}
	return text
}

// Datastore is the server's datastore.
func (s *Server) Datastore() (Datastore, error) {
	return ParseDatastore(s.DatastoreEndpoint, DatastoreFiles{CA: s.DatastoreCAFile, Cert: s.DatastoreCertFile, Key: s.DatastoreKeyFile})
}

// DatastoreState is what a running server last saw of its datastore, in [Paths.DatastoreState].
type DatastoreState struct {
	Datastore string    `json:"datastore"`         // which one, as [Datastore.String]
	Problem   string    `json:"problem,omitempty"` // what is wrong and what to do; empty: it works
	Since     time.Time `json:"since"`             // of this state
}

// DatastoreState is the file of a [DatastoreState].
func (p Paths) DatastoreState() string { return filepath.Join(p.Run(), "datastore.json") }

// ReadDatastoreState reads what the server of these paths last saw of its datastore; the error is
// fs.ErrNotExist while no server runs.
func ReadDatastoreState(p Paths) (DatastoreState, error) {
	var state DatastoreState
	data, err := os.ReadFile(p.DatastoreState())
	if err != nil {
		return state, err
	}
	return state, json.Unmarshal(data, &state)
}
