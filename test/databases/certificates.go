package databases

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"airgap/internal/testca"
)

// Certificates are files of an authority of its own, and of a server's and a client's certificate that it signed.
type Certificates struct {
	CA, ServerCert, ServerKey, ClientCert, ClientKey string
}

// User is the name in the client's certificate, and the user that every database has.
const User = "airgap"

// makeCertificates makes them for the loopback addresses, "localhost" and address.
func makeCertificates(t testing.TB, dir, address string) Certificates {
	t.Helper()
	ca := testca.New(t, "test authority")
	c := Certificates{CA: writeFile(t, dir, "ca.crt", ca.PEM)}
	issue := func(name string) (cert, key string) {
		secret := testca.NewKey(t)
		leaf := testca.Leaf{Name: name, Hosts: []string{"localhost", "127.0.0.1", address}, NotAfter: time.Now().AddDate(0, 0, 1)}
		return writeFile(t, dir, name+".crt", ca.Sign(secret.Public(), leaf)), writeFile(t, dir, name+".key", testca.EncodeKey(t, secret))
	}
	c.ServerCert, c.ServerKey = issue("server")
	c.ClientCert, c.ClientKey = issue(User)
	return c
}

func writeFile(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
