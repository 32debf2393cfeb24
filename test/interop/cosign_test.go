package interop

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"airgap/bundle"
	"airgap/signing"
)

// cosignPath is stock cosign: build/cosign/cosign, which `make test` builds from the module in cosign/.
var cosignPath = flag.String("cosign", "", "path of the cosign executable to try")

// cosign runs stock cosign in a folder, without a network to ask, and says whether it was content.
func cosign(t *testing.T, dir string, args ...string) bool {
	t.Helper()
	cmd := exec.Command(*cosignPath, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "COSIGN_PASSWORD=", "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1")
	out, err := cmd.CombinedOutput()
	t.Logf("cosign %q: %v\n%s", args, err, out)
	return err == nil
}

// TestCosign has a key pair made by cosign sign a bundle here and a manifest there, and each verify the other's.
func TestCosign(t *testing.T) {
	if *cosignPath == "" {
		t.Skip("give -cosign PATH, as `make test` does")
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if !cosign(t, dir, "generate-key-pair", "--output-key-prefix", "site") || !cosign(t, dir, "trusted-root", "create", "--out", "root.json") {
		t.Fatal("cosign makes no key")
	}
	key, err := signing.ParsePrivateKey(read(t, file("site.key")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Create(context.Background(), file("site"), content(t), bundle.CreateOptions{Directory: true, Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	message := read(t, file("site/airgap.json"))
	if err := os.WriteFile(file("other.json"), bytes.Replace(message, []byte("1.2.3"), []byte("1.2.4"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, check := range [][]string{
		{"--bundle", "site/airgap.json.sigstore.json", "--new-bundle-format", "--trusted-root", "root.json"},
		{"--signature", "site/airgap.json.sig"},
	} {
		args := append([]string{"verify-blob", "--key", "site.pub", "--insecure-ignore-tlog"}, check...)
		if !cosign(t, dir, append(args, "site/airgap.json")...) {
			t.Errorf("cosign refuses %q", check)
		}
		if cosign(t, dir, append(args, "other.json")...) {
			t.Errorf("cosign accepts %q for another manifest", check)
		}
	}
	if !cosign(t, dir, "sign-blob", "--key", "site.key", "--new-bundle-format", "--bundle", "theirs.json", "--output-signature", "theirs.sig", "--tlog-upload=false", "-y", "site/airgap.json") {
		t.Fatal("cosign does not sign")
	}
	for theirs, ours := range map[string]string{"theirs.json": "site/airgap.json.sigstore.json", "theirs.sig": "site/airgap.json.sig"} {
		if err := os.Rename(file(theirs), file(ours)); err != nil {
			t.Fatal(err)
		}
	}
	_, signers, err := bundle.Verify(context.Background(), file("site"), signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}, nil)
	if err != nil || len(signers) != 1 || signers[0] != key.Public().ID() {
		t.Errorf("a bundle signed by cosign: %v, signers %q", err, signers)
	}
}
