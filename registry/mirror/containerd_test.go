package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/internal/fixture"
)

// serve runs a mirror as a node does and returns containerd's own client for it, made from the files in
// folder as the CRI plugin makes it.
func serve(t *testing.T, m *Mirror, folder string, secret func(host string) (string, string, error)) (remotes.Resolver, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	side, err := WriteHosts(folder, address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: m, TLSConfig: side}
	go server.Serve(tls.NewListener(listener, side))
	t.Cleanup(func() { server.Close() })
	hosts := config.ConfigureHosts(context.Background(), config.HostOptions{HostDir: config.HostDirFromRoot(folder), Credentials: secret})
	return docker.NewResolver(docker.ResolverOptions{Hosts: hosts}), address
}

func TestContainerdPullsThroughTheMirror(t *testing.T) {
	store := fixture.New(t)
	target := store.Image("a layer")
	store.Name("docker.io/library/app:1", target, pinned)
	store.Name("localhost:5000/app:1", target, pinned)
	folder := t.TempDir()
	resolver, address := serve(t, newMirror(t, store, "", Options{SystemHost: "airgap.internal"}), folder, nil)
	ctx := context.Background()

	for _, reference := range []string{"docker.io/library/app:1", "localhost:5000/app:1", "docker.io/library/app@" + target.Digest.String()} {
		_, desc, err := resolver.Resolve(ctx, reference)
		if err != nil || desc.Digest != target.Digest || desc.MediaType != ocispec.MediaTypeImageManifest || desc.Size != target.Size {
			t.Errorf("%s: %+v, %v", reference, desc, err)
			continue
		}
		fetcher, err := resolver.Fetcher(ctx, reference)
		if err != nil {
			t.Fatal(err)
		}
		for digest, data := range store.Data {
			content, err := fetcher.Fetch(ctx, ocispec.Descriptor{Digest: digest, Size: int64(len(data)), MediaType: ocispec.MediaTypeImageLayer})
			if err != nil {
				t.Errorf("%s: %v", reference, err)
				continue
			}
			if got, err := io.ReadAll(content); err != nil || string(got) != string(data) {
				t.Errorf("%s: %s is %q, %v", reference, digest, got, err)
			}
			content.Close()
		}
	}
	if _, _, err := resolver.Resolve(ctx, "airgap.internal/absent:1"); !errdefs.IsNotFound(err) {
		t.Errorf("an image that is nowhere: %v, want not found", err)
	}
	_, _, err := resolver.Resolve(ctx, "registry.invalid/absent:1")
	if err == nil || !strings.Contains(err.Error(), "this node does not hold registry.invalid/absent:1") {
		t.Errorf("containerd's error does not say why: %v", err)
	}
	t.Run("nobody else gets in", func(t *testing.T) {
		stranger := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		if response, err := stranger.Get("https://" + address + "/v2/"); err == nil {
			t.Errorf("a client without a certificate got %s", response.Status)
		}
		// The credentials of another node, or of this one's earlier run.
		other := t.TempDir()
		if _, err := WriteHosts(other, address); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(filepath.Join(other, clientFile), filepath.Join(other, clientFile))
		if err != nil {
			t.Fatal(err)
		}
		stranger.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}}
		if response, err := stranger.Get("https://" + address + "/v2/"); err == nil {
			t.Errorf("a client of another authority got %s", response.Status)
		}
	})
}

// containerd sends a pod's pull secret when the registry behind the mirror wants one.
func TestContainerdSendsPullSecrets(t *testing.T) {
	lan := newRemote(t, false)
	lan.push(t, "team/app:1")
	lan.guard = func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "pod" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="site"`)
			w.WriteHeader(http.StatusUnauthorized)
			return false
		}
		return true
	}
	registries := "mirrors: {docker.io: {endpoint: [\"http://" + lan.host() + "\"]}}"
	for name, test := range map[string]struct {
		secret func(string) (string, string, error)
		err    error
	}{
		"right": {func(string) (string, string, error) { return "pod", "secret", nil }, nil},
		"none":  {func(string) (string, string, error) { return "", "", nil }, docker.ErrInvalidAuthorization},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t, fixture.New(t), registries, Options{DisableDefaultEndpoint: true})
			resolver, _ := serve(t, m, t.TempDir(), test.secret)
			if _, _, err := resolver.Resolve(context.Background(), "docker.io/team/app:1"); !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
		})
	}
}
