package site

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestCertificateFilesFollowTheFiles(t *testing.T) {
	c := newCluster(t)
	m := c.machine()
	if _, err := CertificateFiles(filepath.Join(m.PKI, "kubelet.crt"), filepath.Join(m.PKI, "kubelet.key"))(); err == nil {
		t.Error("there is a certificate before there are files")
	}
	if _, err := m.Join(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if name, err := NodeName(m.PKI); err != nil || name != "n1" {
		t.Errorf("the node's name is %q, %v", name, err)
	}
	load := CertificateFiles(filepath.Join(m.PKI, "kubelet.crt"), filepath.Join(m.PKI, "kubelet.key"))
	first, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := load(); again != first {
		t.Error("unchanged files are read again")
	}
	if err := os.WriteFile(filepath.Join(m.PKI, "kubelet.key"), []byte("half of a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if broken, err := load(); err != nil || broken != first {
		t.Errorf("a pair that does not fit replaces one that does: %v", err)
	}
	if _, err := m.Join(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if second, err := load(); err != nil || second == first {
		t.Errorf("new files are not read: %v", err)
	}
}
