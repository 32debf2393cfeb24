package interop

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/signing"
)

// cosignPaths are stock cosigns, of which `make test` builds two: 2.6 from the module in cosign/, 3.1 from that in cosign3/.
var cosignPaths = flag.String("cosign", "", "paths of the cosign executables to try, with commas between them")

// stock is one of them, in a folder of its own with a pair of keys.
type stock struct {
	path, dir string
	three     bool // 3.0 or later: Sigstore bundles unless told otherwise
}

// withEach runs a test with each cosign.
func withEach(t *testing.T, test func(t *testing.T, c stock)) {
	if *cosignPaths == "" {
		t.Skip("give -cosign PATH,PATH as `make test` does")
	}
	for path := range strings.SplitSeq(*cosignPaths, ",") {
		version, err := exec.Command(path, "version").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", path, err, version)
		}
		c := stock{path, t.TempDir(), bytes.Contains(version, []byte("v3."))}
		t.Run(filepath.Base(path), func(t *testing.T) {
			if !c.run(t, "generate-key-pair", "--output-key-prefix", "site") {
				t.Fatal("cosign makes no key")
			}
			test(t, c)
		})
	}
}

func (c stock) file(name string) string { return filepath.Join(c.dir, name) }

// run runs cosign in its folder, without a network to ask but loopback, and says whether it was content.
func (c stock) run(t *testing.T, args ...string) bool {
	t.Helper()
	cmd := exec.Command(c.path, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "COSIGN_PASSWORD=", "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1", "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	t.Logf("cosign %q: %v\n%s", args, err, out)
	return err == nil
}

// TestCosign has a key pair made by cosign sign a bundle here and a manifest there, and each verify the other's.
func TestCosign(t *testing.T) { withEach(t, testCosign) }

func testCosign(t *testing.T, c stock) {
	if !c.run(t, "trusted-root", "create", "--out", "root.json") {
		t.Fatal("cosign makes no root")
	}
	key, err := signing.ParsePrivateKey(read(t, c.file("site.key")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Create(context.Background(), c.file("site"), content(t), bundle.CreateOptions{Directory: true, Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	message := read(t, c.file("site/airgap.json"))
	if err := os.WriteFile(c.file("other.json"), bytes.Replace(message, []byte("1.2.3"), []byte("1.2.4"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, check := range [][]string{
		{"--bundle", "site/airgap.json.sigstore.json", "--new-bundle-format", "--trusted-root", "root.json"},
		{"--signature", "site/airgap.json.sig"},
	} {
		args := append([]string{"verify-blob", "--key", "site.pub", "--insecure-ignore-tlog"}, check...)
		if !c.run(t, append(args, "site/airgap.json")...) {
			t.Errorf("cosign refuses %q", check)
		}
		if c.run(t, append(args, "other.json")...) {
			t.Errorf("cosign accepts %q for another manifest", check)
		}
	}
	if !c.run(t, "sign-blob", "--key", "site.key", "--new-bundle-format", "--bundle", "theirs.json", "--use-signing-config=false", "--tlog-upload=false", "-y", "site/airgap.json") {
		t.Fatal("cosign does not sign")
	}
	made, err := signing.ParseMade(read(t, c.file("theirs.json")))
	if err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{"site/airgap.json.sigstore.json", "site/airgap.json.sig"} {
		if err := os.Remove(c.file(half)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bundle.AddSignatures(context.Background(), c.file("site"), bundle.AllowUnsigned{}, []bundle.Signer{made}, nil); err != nil {
		t.Fatal(err)
	}
	_, signers, err := bundle.Verify(context.Background(), c.file("site"), signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}, nil)
	if err != nil || len(signers) != 1 || signers[0] != key.Public().ID() {
		t.Errorf("a bundle signed by cosign: %v, signers %q", err, signers)
	}
}
