package databases

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
)

// Postgres starts a PostgreSQL that takes connections over TLS alone.
func Postgres(t testing.TB, at Place) *Server {
	t.Helper()
	s := newServer(t, "postgresql", "postgres", at)
	s.quit = syscall.SIGQUIT // its children end too
	bin := postgresFolder(t)
	data := filepath.Join(s.dir, "data")
	s.write("password", Password)
	s.run(filepath.Join(bin, "initdb"), "-D", data, "-U", User, "-A", "scram-sha-256", "--pwfile="+filepath.Join(s.dir, "password"), "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	s.write("data/pg_hba.conf", "hostssl all all all scram-sha-256\nlocal all all trust\n")
	s.command = []string{filepath.Join(bin, "postgres"), "-D", data, "-p", s.port(), "-k", s.dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
		"-c", "ssl=on", "-c", "ssl_cert_file=" + s.ServerCert, "-c", "ssl_key_file=" + s.ServerKey}
	s.Endpoint = "postgres://" + User + ":" + Password + "@" + s.address + "/k8s"
	s.Start()
	return s
}

func postgresFolder(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is not installed; `make deps` installs it")
	}
	sort.Strings(found)
	return found[len(found)-1]
}

// MariaDB starts a MariaDB that takes connections over TLS alone.
func MariaDB(t testing.TB, at Place) *Server {
	t.Helper()
	s := newServer(t, "mariadb", "mysql", at)
	data := filepath.Join(s.dir, "data")
	s.run("mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	s.write("init.sql", strings.Join([]string{
		"CREATE USER IF NOT EXISTS '" + User + "'@'%' IDENTIFIED BY '" + Password + "'",
		"GRANT ALL ON k8s.* TO '" + User + "'@'%'",
	}, ";\n")+";\n")
	s.command = []string{"mariadbd", "--no-defaults", "--datadir=" + data, "--socket=" + filepath.Join(s.dir, "socket"),
		"--port=" + s.port(), "--bind-address=127.0.0.1", "--init-file=" + filepath.Join(s.dir, "init.sql"), "--innodb-flush-log-at-trx-commit=2",
		"--ssl-ca=" + s.CA, "--ssl-cert=" + s.ServerCert, "--ssl-key=" + s.ServerKey, "--require-secure-transport=ON"}
	s.Endpoint = "mysql://" + User + ":" + Password + "@tcp(" + s.address + ")/k8s"
	s.Start()
	return s
}

// Etcd starts an etcd that wants a client's certificate.
func Etcd(t testing.TB, at Place) *Server {
	t.Helper()
	s := newServer(t, "etcd", "etcd", at)
	url := "https://" + s.address
	s.command = []string{"etcd", "--data-dir", filepath.Join(s.dir, "data"), "--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", "http://127.0.0.1:0", "--log-level", "error", "--logger", "zap", "--client-cert-auth", "--unsafe-no-fsync",
		"--trusted-ca-file", s.CA, "--cert-file", s.ServerCert, "--key-file", s.ServerKey}
	s.Endpoint = url
	s.Start()
	return s
}

// SetReadOnly makes a PostgreSQL or a MariaDB refuse writes, or take them again.
func (s *Server) SetReadOnly(is bool) {
	s.t.Helper()
	value := map[bool]string{true: "1", false: "0"}[is]
	if s.command[0] == "mariadbd" {
		s.run("mariadb", "--no-defaults", "--socket="+filepath.Join(s.dir, "socket"), "-uroot", "-e", "SET GLOBAL read_only="+value)
		return
	}
	for _, text := range []string{"ALTER SYSTEM SET default_transaction_read_only=" + value, "SELECT pg_reload_conf()"} {
		s.run("psql", "-h", s.dir, "-p", s.port(), "-U", User, "-d", "postgres", "-qc", text)
	}
}

// write writes a file into the server's folder, for its user.
func (s *Server) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.account != nil {
		if err := os.Chown(file, int(s.account.Uid), int(s.account.Gid)); err != nil {
			s.t.Fatal(err)
		}
	}
}
