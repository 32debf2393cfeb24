package distribution

import (
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"airgap/registry/internal/fixture"
)

// startSecured serves a site that only a writer of team/app and team/copy may change, over TLS.
func startSecured(t *testing.T) *httptest.Server {
	store := fixture.New(t)
	s := httptest.NewTLSServer(&Registry{
		Node: Handler{Content{Images: store.Images, Blobs: store.Blobs}},
		Site: NewSite(SiteOptions{Images: store.Images, Blobs: store.Blobs, Leases: store.Leases}),
		Authorizer: policy{"token": {
			"create team/app", "get team/app", "delete team/app", "create team/copy", "get team/copy", "list ",
		}},
	})
	t.Cleanup(s.Close)
	return s
}

// What crane does, with credentials.
func TestCrane(t *testing.T) {
	s := startSecured(t)
	host := s.Listener.Addr().String()
	options := []crane.Option{crane.WithTransport(s.Client().Transport), crane.WithAuth(&authn.Basic{Username: "any", Password: "token"})}
	image, err := random.Image(3<<20, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(image, host+"/team/app:1", options...); err != nil {
		t.Fatal(err)
	}
	pulled, err := crane.Pull(host+"/team/app:1", options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(pulled); err != nil {
		t.Fatal(err)
	}
	if err := crane.Copy(host+"/team/app:1", host+"/team/copy:2", options...); err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(1<<10, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(host + "/team/app:index")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(reference, index, remote.WithTransport(s.Client().Transport), remote.WithAuth(&authn.Basic{Username: "any", Password: "token"})); err != nil {
		t.Fatal(err)
	}
	if err := crane.Tag(host+"/team/app:1", "stable", options...); err != nil {
		t.Fatal(err)
	}
	if tags, err := crane.ListTags(host+"/team/app", options...); err != nil || !slices.Equal(tags, []string{"1", "index", "stable"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
	if all, err := crane.Catalog(host, options...); err != nil || !slices.Equal(all, []string{"team/app", "team/copy"}) {
		t.Errorf("repositories %v, %v", all, err)
	}
	d, err := crane.Digest(host+"/team/app:1", options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Delete(host+"/team/app@"+d, options...); err != nil {
		t.Fatal(err)
	}
	if _, err := crane.Head(host+"/team/app:stable", options...); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("deleted, and still there: %v", err)
	}
	if err := crane.Push(image, host+"/team/other:1", options...); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("pushed without the right: %v", err)
	}
	if err := crane.Push(image, host+"/team/app:2", options[0]); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("pushed without credentials: %v", err)
	}
}

// What skopeo does.
func TestSkopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed (make deps)")
	}
	s := startSecured(t)
	host := s.Listener.Addr().String()
	image, err := random.Image(1<<20, 2)
	if err != nil {
		t.Fatal(err)
	}
	layout := t.TempDir()
	if err := crane.SaveOCI(image, layout); err != nil {
		t.Fatal(err)
	}
	skopeo := func(want string, args ...string) {
		t.Helper()
		args = append(args, "--registries.d="+t.TempDir())
		output, err := exec.Command("skopeo", slices.Insert(args, 0, "--insecure-policy")...).CombinedOutput()
		if (err == nil) != (want == "") || !strings.Contains(string(output), want) {
			t.Fatalf("skopeo %s: %v, want %q\n%s", strings.Join(args, " "), err, want, output)
		}
	}
	skopeo("", "copy", "--dest-tls-verify=false", "--dest-creds=any:token", "oci:"+layout, "docker://"+host+"/team/app:1")
	skopeo("", "copy", "--src-tls-verify=false", "--src-creds=any:token", "docker://"+host+"/team/app:1", "oci:"+filepath.Join(t.TempDir(), "pulled"))
	skopeo("", "copy", "--src-tls-verify=false", "--src-creds=any:token", "--dest-tls-verify=false", "--dest-creds=any:token",
		"docker://"+host+"/team/app:1", "docker://"+host+"/team/copy:1")
	skopeo("unauthorized", "copy", "--dest-tls-verify=false", "--dest-creds=any:wrong", "oci:"+layout, "docker://"+host+"/team/app:1")
	skopeo("", "delete", "--tls-verify=false", "--creds=any:token", "docker://"+host+"/team/app:1")
	skopeo("manifest unknown", "inspect", "--tls-verify=false", "--creds=any:token", "docker://"+host+"/team/app:1")
}
