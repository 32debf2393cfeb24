package installer

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/installer/preflight/preflighttest"
	"airgap/internal/atomicfile"
	"airgap/internal/site"
	"airgap/registry/peer"
	"airgap/signing"
)

// firstMachine is a site with a server on it, which has two bundles: one of everything, and one without a distribution.
func firstMachine(t *testing.T) (s *testSite, whole, extra *bundle.Manifest) {
	t.Helper()
	s = newSite(t)
	content := s.contentOnly(t, "3.0.0")
	content.Manifest.Name, content.Manifest.Charts, content.Manifest.Files = "extra", nil, nil
	whole = s.build(t, "whole.airgap", s.content(t, "1.0.0"), s.key)
	extra = s.build(t, "extra.airgap", onlyImages(content), s.key)
	for _, file := range []string{"whole.airgap", "extra.airgap"} {
		if _, err := Run(context.Background(), s.options(file)); err != nil {
			t.Fatal(err)
		}
	}
	return s, whole, extra
}

// onlyImages leaves out all artifacts, and the blobs that only these have.
func onlyImages(c bundle.Content) bundle.Content {
	c.Manifest.Charts, c.Manifest.Manifests, c.Manifest.Files, c.Manifest.Distributions = nil, nil, nil, nil
	var kept []bundle.Blob
	for i, blob := range c.Blobs {
		if i < imageBlobs(c) {
			kept = append(kept, blob)
		}
	}
	c.Blobs = kept
	return c
}

// imageBlobs is how many blobs, from the first, are of images: the fixture adds these first.
func imageBlobs(c bundle.Content) int {
	last := 0
	for i, blob := range c.Blobs {
		if blob.Role == bundle.RoleLayer {
			last = i + 1
		}
	}
	return last
}

func TestJoinReadsTheClustersBundles(t *testing.T) {
	first, whole, extra := firstMachine(t)
	c := newCluster(t, first.retained())
	second := newSite(t)
	second.key = first.key
	var out bytes.Buffer
	o := second.joining(c)
	o.Out = &out
	var counted []int // bundles whose space each preflight counts
	gather := o.facts
	o.facts = func(r *run) (Facts, error) {
		if s := r.subject(); s.Fetched || len(s.Bundles) == 0 {
			counted = append(counted, len(s.Bundles))
		}
		return gather(r)
	}
	reports, err := Join(context.Background(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !slices.Equal(counted, []int{0, 2, 1}) {
		t.Errorf("the preflights count %v bundles; want none before the join, both, then the second", counted)
	}
	if len(reports) != 2 || reports[0].Bundle != whole.Name || reports[1].Bundle != extra.Name || reports[0].Airgap != "1.0.0" {
		t.Fatalf("reports: %+v", reports)
	}
	if got := reports[0].FromPeers; got != whole.Size() {
		t.Errorf("%d bytes came from peers, the bundle has %d", got, whole.Size())
	}
	if limit := whole.Size() + extra.Size() + 64<<10; c.uploaded.Load() > limit {
		t.Errorf("the node gave %d bytes for bundles of %d", c.uploaded.Load(), limit)
	}
	second.wantRetained(t, whole)
	second.wantRetained(t, extra)
	got := second.fingerprint(t)
	for _, want := range []string{
		"image example.com/base:1.0.0", "image example.com/base:3.0.0", "bin/airgap -> ",
		"data/trust/trust.json", "data/agent/images/extra.txt", "data/current -> data/",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for _, not := range []string{"data/server", "staging", "incoming"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is in:\n%s", not, got)
		}
	}
	second.wantFileWith(t, "data/config.yaml", "server: "+c.url, "`airgap agent`")
	second.wantFileWith(t, "systemd/"+second.paths().UnitName()+".service", "/bin/airgap agent --data-dir")
	if !strings.Contains(out.String(), "clone") || !strings.Contains(out.String(), "[ 1/14] join: node-2 of the cluster of "+c.url) {
		t.Errorf("told:\n%s", &out)
	}
	second.wantNoSecret(t, testSecret, &out)
	if c.request.Kubernetes != "v1.37.1" || c.request.PeerPort != o.Server.PeerPort {
		t.Errorf("it joined as %+v", c.request)
	}

	t.Run("a third from the second", func(t *testing.T) {
		third := newSite(t)
		third.key = first.key
		if _, err := Join(context.Background(), third.joining(newCluster(t, second.retained()))); err != nil {
			t.Fatal(err)
		}
		third.wantRetained(t, whole)
		third.wantRetained(t, extra)
	})
	t.Run("again, without a token", func(t *testing.T) {
		o := second.joining(c)
		o.Join.Token = site.Token{}
		reports, err := Join(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(reports) != 1 || reports[0].FromPeers != 0 || c.joins != 1 {
			t.Errorf("%d bundles again, %d bytes of it from peers, joined %d times", len(reports), reports[0].FromPeers, c.joins)
		}
		if again := second.fingerprint(t); again != got {
			t.Errorf("it changed something:\n%s\nwas\n%s", again, got)
		}
	})
	t.Run("after its Node was deleted", func(t *testing.T) {
		c.deleted = true
		defer func() { c.deleted = false }()
		o := second.joining(c)
		o.Join.Token = site.Token{}
		if _, err := Join(context.Background(), o); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "node-2 was deleted from the cluster; give --token") {
			t.Errorf("without a token: %v", err)
		}
		if _, err := Join(context.Background(), second.joining(c)); err != nil || c.joins != 2 {
			t.Errorf("with a token: joined %d times, %v", c.joins, err)
		}
	})
	t.Run("a further bundle from a stick", func(t *testing.T) {
		content := onlyImages(first.contentOnly(t, "4.0.0"))
		content.Manifest.Name = "more"
		second.build(t, "more.airgap", content, first.key)
		o := second.options("more.airgap")
		o.Config = nil
		report, err := Run(context.Background(), o)
		if err != nil || report.Bundle != "more" || exists(second.paths().Server()) {
			t.Errorf("%+v, %v", report, err)
		}
		second.wantFileWith(t, "data/config.yaml", "server: "+c.url)
	})
	t.Run("as a server", func(t *testing.T) {
		o := first.joining(c)
		if _, err := Join(context.Background(), o); !errors.Is(err, ErrUsage) {
			t.Errorf("a server joins another cluster: %v", err)
		}
	})
	t.Run("another cluster", func(t *testing.T) {
		if _, err := Join(context.Background(), second.joining(newCluster(t, first.retained()))); !errors.Is(err, ErrRefused) {
			t.Errorf("a node joins another cluster: %v", err)
		}
	})
}

func (s *testSite) wantFileWith(t *testing.T, name string, texts ...string) {
	t.Helper()
	data, err := os.ReadFile(s.path(name))
	for _, text := range texts {
		if err != nil || !strings.Contains(string(data), text) {
			t.Errorf("%s has no %q (%v):\n%s", name, text, err, data)
		}
	}
}

// wantNoSecret looks for a token in everything that an install has written and said.
func (s *testSite) wantNoSecret(t *testing.T, secret string, out *bytes.Buffer) {
	t.Helper()
	if strings.Contains(out.String(), secret) {
		t.Error("the token is told")
	}
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("the token is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// With a stick in hand nothing but the join goes over the network.
func TestJoinWithAStick(t *testing.T) {
	first := newSite(t)
	c := newCluster(t, first.retained())
	c.answer = func(http.ResponseWriter, *http.Request) bool {
		t.Error("a peer is asked for something")
		return false
	}
	s := newSite(t)
	m := s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	o := s.options("a.airgap")
	joinOptions(&o, c.url, c.token.Text())
	reports, err := Join(context.Background(), o)
	if err != nil || len(reports) != 1 || reports[0].FromPeers != 0 || c.joins != 1 {
		t.Fatalf("%+v, %v", reports, err)
	}
	s.wantRetained(t, m)
	s.wantFileWith(t, "etc/site.conf", "site 1.0.0")
	if exists(s.paths().Server()) {
		t.Error("what is for servers is on an agent")
	}
}

// What a machine must not join or must not have leaves nothing but, once it has joined, its credentials.
func TestJoinRefused(t *testing.T) {
	first, whole, _ := firstMachine(t)
	for name, test := range map[string]struct {
		change func(*testSite, *testCluster, *Options)
		want   error
		text   string
	}{
		"wrong token": {func(_ *testSite, _ *testCluster, o *Options) { o.Join.Token.Secret = "guess" }, ErrRefused, "no such token"},
		"foreign token": {func(_ *testSite, _ *testCluster, o *Options) {
			o.Join.Token.CAHash = strings.Repeat("0", 64)
			o.facts = func(r *run) (Facts, error) {
				f := preflighttest.Machine()
				f.Server = lookAtServer(r.Join)
				return f, nil
			}
		}, ErrRefused, "this is another cluster"},
		"no token": {func(_ *testSite, _ *testCluster, o *Options) { o.Join.Token = site.Token{} }, ErrUsage, "--token"},
		"taken name": {func(_ *testSite, c *testCluster, _ *Options) {
			c.refuse = &site.Error{Status: http.StatusForbidden, Code: site.CodeName, Message: "node-2 belongs to another machine"}
		}, ErrRefused, "node-2 belongs to another machine"},
		"another version": {func(_ *testSite, c *testCluster, _ *Options) {
			c.refuse = &site.Error{Status: http.StatusConflict, Code: site.CodeVersion, Message: "Kubernetes v1.37.1 is newer than the servers' v1.36.0"}
		}, ErrRefused, "newer than the servers'"},
		"another signer": {func(s *testSite, _ *testCluster, o *Options) { o.Keys = []signing.PublicKey{s.other.Public()} }, signing.ErrUntrusted, `bundle "site-a 1.0.0" of the cluster`},
		"no key":         {func(_ *testSite, _ *testCluster, o *Options) { o.Keys = nil }, ErrUsage, "--key"},
		"an older bundle": {func(s *testSite, _ *testCluster, _ *Options) {
			if err := errors.Join(os.MkdirAll(s.paths().Install(), 0o755), atomicfile.WriteJSON(acceptedPath(s.paths()), map[string]accepted{"site-a": {Version: "1.4.0"}}, 0o644)); err != nil {
				t.Fatal(err)
			}
		}, ErrRefused, "older than 1.4.0"},
		"no bundles":                {func(_ *testSite, c *testCluster, _ *Options) { c.content = newSite(t).retained() }, nil, "no node of the cluster has a bundle"},
		"another bundle's manifest": {func(_ *testSite, c *testCluster, _ *Options) { c.content = swapped{first.retained()} }, bundle.ErrDigest, "not sha256:"},
		"other bytes": {func(_ *testSite, c *testCluster, _ *Options) {
			c.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, site.PathBlobs) {
					return false
				}
				_, _ = w.Write(make([]byte, 100))
				return true
			}
		}, peer.ErrStalled, "run it again"},
		"small disk": {func(_ *testSite, _ *testCluster, o *Options) {
			o.facts = func(*run) (Facts, error) {
				f := preflighttest.Machine()
				f.Images.FreeBytes = 1 << 20
				return f, nil
			}
		}, nil, "disk:"},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := newCluster(t, first.retained()), newSite(t)
			s.key = first.key
			o := s.joining(c)
			test.change(s, c, &o)
			_, err := Join(context.Background(), o)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("error %v, want %v with %q", err, test.want, test.text)
			}
			if got := s.fingerprint(t); strings.Contains(got, "image ") || strings.Contains(got, "current") || exists(s.paths().Trust()) {
				t.Errorf("left:\n%s", got)
			}
			joined := exists(filepath.Join(s.paths().AgentPKI(), site.FileCluster))
			if joined != (c.joins == 1) {
				t.Errorf("joined %d times, credentials are there: %v", c.joins, joined)
			}
			if !joined {
				if exists(s.path("data")) {
					t.Errorf("a machine that was turned away keeps something:\n%s", s.fingerprint(t))
				}
				return
			}
			// What stopped it is gone: it goes on without a token.
			c.content, c.answer = first.retained(), nil
			c.restart()
			o = s.joining(c)
			o.Join.Token, o.AllowDowngrade = site.Token{}, true
			if _, err := Join(context.Background(), o); err != nil {
				t.Fatalf("again: %v", err)
			}
			s.wantRetained(t, whole)
		})
	}
}

// swapped gives the head of another bundle than the one that is asked for.
type swapped struct{ peer.Content }

func (s swapped) File(digest, name string) (*os.File, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, b := range list {
		if b.Digest != digest {
			return s.Content.File(b.Digest, name)
		}
	}
	return nil, fs.ErrNotExist
}

// The network goes down in the middle: what has come stays, and a second run takes the rest.
func TestJoinContinuesAfterTheNetwork(t *testing.T) {
	first, whole, extra := firstMachine(t)
	c, s := newCluster(t, first.retained()), newSite(t)
	s.key = first.key
	largest := largestEntry(whole)
	c.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, largest.Digest()) {
			return false
		}
		panic(http.ErrAbortHandler) // the connection ends
	}
	began := time.Now()
	_, err := Join(context.Background(), s.joining(c))
	if !errors.Is(err, peer.ErrStalled) || !strings.Contains(err.Error(), "run it again to continue") {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	c.answer = nil
	o := s.joining(c)
	o.Join.Token = site.Token{}
	reports, err := Join(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := reports[0].FromPeers; got >= whole.Size() {
		t.Errorf("all %d bytes came again", got)
	}
	s.wantRetained(t, whole)
	s.wantRetained(t, extra)
}

// A second run asks where the cluster's bundles are now: the node that the first one was told of may have gone.
func TestJoinAgainAsksForThePeers(t *testing.T) {
	first, whole, _ := firstMachine(t)
	c, s := newCluster(t, first.retained()), newSite(t)
	s.key = first.key
	there := c.seeder
	c.seeder = "127.0.0.1:1" // where nobody listens
	if _, err := Join(context.Background(), s.joining(c)); err == nil || !strings.Contains(err.Error(), c.seeder) {
		t.Fatalf("error %v", err)
	}
	c.seeder = there
	if _, err := Join(context.Background(), s.joining(c)); err != nil {
		t.Fatal(err)
	}
	s.wantRetained(t, whole)
	if c.joins != 1 {
		t.Errorf("it joined %d times", c.joins)
	}
	if cluster, err := site.LoadCluster(s.paths().AgentPKI()); err != nil || len(cluster.Peers) != 1 || cluster.Peers[0] != there {
		t.Errorf("it has kept the peers %v, %v", cluster.Peers, err)
	}
}

func largestEntry(m *bundle.Manifest) (largest bundle.Entry) {
	for _, e := range m.Entries {
		if e.Size > largest.Size {
			largest = e
		}
	}
	return largest
}

// A machine that is killed at any point of its joining comes to the same end by a second run.
func TestJoinKilledAnywhere(t *testing.T) {
	first, _, _ := firstMachine(t)
	c, s := newCluster(t, first.retained()), newSite(t)
	s.key = first.key
	if err := os.WriteFile(s.path("site.pub"), s.key.Public().PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	join := func(o Options) error { _, err := Join(context.Background(), o); return err }
	names, numbers := pointsOf(t, s.joining(c), join)
	want := s.fingerprint(t)
	for i, name := range names {
		if strings.HasSuffix(name, " begins") || strings.HasSuffix(name, " done") {
			continue // as at the end of the step
		}
		s.uninstall(t)
		kill(t, s, "", numbers[i], c.environment()...)
		if err := join(s.joining(c)); err != nil {
			t.Errorf("killed at %q, run again: %v", name, err)
			continue
		}
		if got := s.fingerprint(t); got != want {
			t.Errorf("killed at %q, run again:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// An install that fails before the switch leaves a machine that has joined, and nothing else.
func TestJoinFailsAnywhere(t *testing.T) {
	first, _, _ := firstMachine(t)
	c, s := newCluster(t, first.retained()), newSite(t)
	s.key = first.key
	failure := errors.New("input/output error")
	for _, point := range []string{"join joined", "verify ends", "import took layer", "distribution ends", "service ends"} {
		o := s.joining(c)
		o.fault = func(at string) error {
			if at == point {
				return failure
			}
			return nil
		}
		if _, err := Join(context.Background(), o); !errors.Is(err, failure) {
			t.Errorf("failed at %q: error %v", point, err)
		}
		got := s.fingerprint(t)
		for _, not := range []string{"image ", "current", "bin/", ".service", "config.yaml", "staging", "data/bundles"} {
			if strings.Contains(got, not) {
				t.Errorf("failed at %q, %q is left:\n%s", point, not, got)
			}
		}
		if !exists(filepath.Join(s.paths().AgentPKI(), site.FilePassword)) {
			t.Errorf("failed at %q: the password of the node's name is lost", point)
		}
	}
	if _, err := Join(context.Background(), s.joining(c)); err != nil {
		t.Fatal(err)
	}
	if c.joins != 1 {
		t.Errorf("it joined %d times", c.joins)
	}
}
