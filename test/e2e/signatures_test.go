package e2e

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"airgap/bundle"
	"airgap/bundle/source"
	"airgap/internal/cosigntest"
	"airgap/signing"
	"airgap/test/site"
)

// testSignatures installs an image with its signatures, requires them, runs a pod from it, and finds them where clients ask the node.
func testSignatures(t *testing.T, s *node) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/team/signed"
	data, err := os.ReadFile(site.Built("dist/development.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.ParsePrivateKey(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	image := signedImage(t, repository, key)

	dir, err := os.MkdirTemp("/var/tmp", "ag-signed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, filepath.Join(dir, "airgap.yaml"), fmt.Sprintf(`apiVersion: airgap/v1
kind: Bundle
metadata: {name: signed, version: 1.0.0}
spec:
  from: []
  platforms: [linux/amd64]
  images: [{source: %q, name: "docker.io/team/signed:1"}]
  verifyImages: [{images: ["docker.io/team/*"], keys: [%q]}]
`, repository+":1", site.Built("dist/development.pub")))
	spec, err := source.Load(filepath.Join(dir, "airgap.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	gathered, err := source.Gather(context.Background(), spec, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer gathered.Close()
	path := filepath.Join(dir, "signed.airgap")
	if _, err := bundle.Create(context.Background(), path, gathered.Content, bundle.CreateOptions{Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	s.Install(path)
	s.Apply(`{apiVersion: v1, kind: Pod, metadata: {name: signed}, spec: {terminationGracePeriodSeconds: 1,
  containers: [{name: main, image: "team/signed:1", imagePullPolicy: Always, command: [sleep, "100000"]}]}}
`)
	s.Kubectl("wait", "--for=condition=Ready", "pod/signed", "--timeout=60s")
	s.Kubectl("delete", "pod", "signed", "--wait=false")

	folder := filepath.Join(s.Paths.DataDir, "agent/etc/containerd/certs.d")
	ask := func(what string) string {
		return site.MustOutput(t, s.Inside("curl", "-sS", "--cacert", folder+"/ca.pem", "--cert", folder+"/client.pem", "https://127.0.0.1:6445/v2/team/signed/"+what+"?ns=docker.io"))
	}
	if answer := ask("manifests/" + bundle.SignatureTag(image, ".sig")); !strings.Contains(answer, "simplesigning") {
		t.Errorf("cosign's tag: %s", answer)
	}
	if answer := ask("referrers/" + image); !strings.Contains(answer, `"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"`) {
		t.Errorf("the list of referrers: %s", answer)
	}
	s.Airgap("crictl", "images") // it must not stumble over what is no image
	if out := s.Airgap("ctr", "images", "ls", "-q", "name~=team/signed"); strings.Count(out, "team/signed") < 4 {
		t.Errorf("the names that containerd has:\n%s", out)
	}
}

// signedImage pushes busybox, signed by cosign's tag and as a referrer, and returns its digest.
func signedImage(t *testing.T, repository string, key *signing.PrivateKey) string {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	image := busyboxOf(t)
	digest, err := image.Digest()
	check(err)
	size, err := image.Size()
	check(err)
	tag, err := name.NewTag(repository + ":1")
	check(err)
	check(remote.Write(tag, image))

	payload := cosigntest.Payload(digest.String())
	signature, err := key.Sign(payload)
	check(err)
	attached, err := cosigntest.Attached(payload, string(signature.Detached))
	check(err)
	check(remote.Write(tag.Context().Tag(bundle.SignatureTag(digest.String(), ".sig")), attached))

	about := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: size}
	referrer, err := cosigntest.Referrer(about, "application/vnd.dev.sigstore.bundle.v0.3+json", signature.Sigstore)
	check(err)
	own, err := referrer.Digest()
	check(err)
	check(remote.Write(tag.Context().Digest(own.String()), referrer))
	return digest.String()
}
