package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseDatastore(t *testing.T) {
	for endpoint, want := range map[string]Datastore{
		"":       {Kind: SQLite},
		"sqlite": {Kind: SQLite},
		"postgres://u:secret@db:5432/k8s?sslmode=verify-full": {Kind: PostgreSQL, Host: "db:5432", Database: "k8s", User: "u"},
		"postgresql://u:secret@db":                            {Kind: PostgreSQL, Host: "db:5432", Database: "kubernetes", User: "u"},
		"postgres://u@[fd00::1]/K8S":                          {Kind: PostgreSQL, Host: "[fd00::1]:5432", Database: "k8s", User: "u"},
		"postgres://u@/k8s?host=/run/pg":                      {Kind: PostgreSQL, Host: "/run/pg", Database: "k8s", User: "u"},
		"mysql://u:secret@tcp(db:3307)/k8s":                   {Kind: MySQL, Host: "db:3307", Database: "k8s", User: "u"},
		"mysql://u:a@b/c@tcp(db)/":                            {Kind: MySQL, Host: "db:3306", Database: "kubernetes", User: "u"},
		"mysql://root@unix(/run/mysqld.sock)/k8s?tls=false":   {Kind: MySQL, Host: "/run/mysqld.sock", Database: "k8s", User: "root"},
		"https://etcd-1:2379,https://etcd-2:2379":             {Kind: Etcd, Host: "etcd-1:2379,etcd-2:2379"},
	} {
		got, err := ParseDatastore(endpoint, DatastoreFiles{})
		if err != nil {
			t.Errorf("%q: %v", endpoint, err)
			continue
		}
		if got.Kind != want.Kind || got.Host != want.Host || got.Database != want.Database || got.User != want.User {
			t.Errorf("%q is %s as %q, want %s as %q", endpoint, got, got.User, want, want.User)
		}
	}
}

func TestParseDatastoreSaysWhatIsWrong(t *testing.T) {
	tls := DatastoreFiles{CA: "/ca", Cert: "/cert", Key: "/key"}
	for name, test := range map[string]struct {
		endpoint string
		files    DatastoreFiles
		want     string
	}{
		"unknown kind":          {"nats://h:4222", DatastoreFiles{}, `"nats" is no kind of datastore`},
		"no URL":                {"db.site", DatastoreFiles{}, "want a URL such as"},
		"MySQL without mysql:":  {"u:secret@tcp(db)/k8s", DatastoreFiles{}, "want a URL such as"},
		"password not encoded":  {"postgres://u:sec%ret@db/k8s", DatastoreFiles{}, "percent-encoded"},
		"Postgres without host": {"postgres:///k8s", DatastoreFiles{}, "no host"},
		"sslmode":               {"postgres://u:secret@db/k8s?sslmode=on", DatastoreFiles{}, `sslmode "on"`},
		"sslmode and files":     {"postgres://u:secret@db/k8s?sslmode=disable", tls, "contradicts"},
		"MySQL without slash":   {"mysql://u:secret@tcp(db)", DatastoreFiles{}, "no slash"},
		"MySQL as a URL":        {"mysql://u:secret@db:3306/k8s", DatastoreFiles{}, "no address in parentheses"},
		"MySQL's protocol":      {"mysql://u:secret@udp(db:3306)/k8s", DatastoreFiles{}, "neither tcp"},
		"etcd without port":     {"https://etcd-1", DatastoreFiles{}, "no port"},
		"etcd's second member":  {"https://etcd-1:2379,etcd-2:2379", DatastoreFiles{}, "each in full"},
		"etcd with a password":  {"https://root:secret@etcd-1:2379", DatastoreFiles{}, "client certificate"},
		"etcd plain with files": {"http://etcd-1:2379", tls, "contradicts"},
		"certificate, no key":   {"https://etcd-1:2379", DatastoreFiles{Cert: "/cert"}, "datastore-keyfile"},
		"relative file":         {"https://etcd-1:2379", DatastoreFiles{CA: "ca.crt"}, "not an absolute path"},
		"files for SQLite":      {"", tls, "datastore-endpoint missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseDatastore(test.endpoint, test.files)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "sec") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestDatastoreKeepsItsPassword(t *testing.T) {
	for _, endpoint := range []string{"postgres://u:s3cr%2Ft@db/k8s", "mysql://u:s3cr/t@tcp(db)/k8s"} {
		d, err := ParseDatastore(endpoint, DatastoreFiles{})
		if err != nil {
			t.Fatal(err)
		}
		if !d.HasPassword() {
			t.Errorf("%s has a password", d)
		}
		text := fmt.Sprintf("%s %v %+v %#v", d, d, &d, d) + d.Redact("cannot open "+endpoint+" with s3cr/t")
		if strings.Contains(text, "s3cr") {
			t.Errorf("the password shows: %s", text)
		}
	}
}

func FuzzParseDatastore(f *testing.F) {
	for _, seed := range []string{"postgres://u:p@h/d?sslmode=x", "mysql://u:p@tcp(h:1)/d?a=b", "https://a:1,https://b:2", "mysql://(/@", "postgres://%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		d, err := ParseDatastore(endpoint, DatastoreFiles{})
		if err == nil && d.Kind != SQLite && d.Host == "" {
			t.Errorf("%q has no host", endpoint)
		}
	})
}
