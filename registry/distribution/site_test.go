package distribution

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry"
	"airgap/registry/internal/fixture"
)

// testSite is a site's content over stores of containerd, served.
type testSite struct {
	pusher
	*Site
	store *fixture.Store
	clock time.Time
	full  error
}

func newTestSite(t *testing.T) *testSite {
	s := &testSite{store: fixture.New(t), clock: time.Now()}
	s.start(t)
	return s
}

// start serves the stores anew, as after a restart of the process.
func (s *testSite) start(t *testing.T) {
	s.Site = NewSite(SiteOptions{
		Images: s.store.Images, Blobs: s.store.Blobs, Leases: s.store.Leases,
		Now: func() time.Time { return s.clock }, Space: func(int64) error { return s.full },
	})
	server_ := httptest.NewServer(&Registry{Node: Handler{s.content}, Site: s.Site, Port: 6446, Authorizer: everybody{}})
	t.Cleanup(server_.Close)
	s.pusher = pusher{t, server{name: "airgap", url: server_.URL}, "team/app"}
}

// holds tells whether the store has a blob, whoever may see it.
func (s *testSite) holds(data string) bool {
	s.T.Helper()
	_, err := s.store.Blobs.Info(s.inNamespace(context.Background()), digest.FromString(data))
	if err != nil && !errdefs.IsNotFound(err) {
		s.Fatal(err)
	}
	return err == nil
}

// wantNothingHeld wants no lease and nothing half written.
func (s *testSite) wantNothingHeld() {
	s.T.Helper()
	ctx := s.inNamespace(context.Background())
	if all, err := s.store.Leases.List(ctx); err != nil || len(all) > 0 {
		s.Errorf("leases are left: %v, %v", all, err)
	}
	if all, err := s.store.Blobs.ListStatuses(ctx); err != nil || len(all) > 0 {
		s.Errorf("half-written blobs are left: %v, %v", all, err)
	}
}

func TestContentIsKeptAsLongAsSomethingNamesIt(t *testing.T) {
	s := newTestSite(t)
	s.blob([]byte("waits"))
	s.store.Collect()
	if !s.holds("waits") {
		t.Fatal("a blob was collected before its manifest came")
	}
	s.call(http.MethodDelete, "/blobs/"+digest.FromString("waits").String(), nil, http.StatusAccepted)
	s.put("1", s.manifest("one", nil), http.StatusCreated)
	s.wantNothingHeld()
	s.store.Collect()
	if s.holds("waits") || !s.holds("layer one") {
		t.Errorf("the deleted blob is there: %v; the image's: %v", s.holds("waits"), s.holds("layer one"))
	}
	// A tag that is replaced lets its old content go.
	s.put("1", s.manifest("two", nil), http.StatusCreated)
	s.store.Collect()
	if s.holds("layer one") || !s.holds("layer two") {
		t.Errorf("the old layer is there: %v; the new one: %v", s.holds("layer one"), s.holds("layer two"))
	}
	s.call(http.MethodDelete, "/manifests/1", nil, http.StatusAccepted)
	s.store.Collect()
	if s.holds("layer two") {
		t.Error("a deleted image's layer is there")
	}
	s.wantNothingHeld()
}

// A manifest that was first pushed as a blob keeps what it refers to all the same.
func TestManifestThatWasABlob(t *testing.T) {
	s := newTestSite(t)
	data := s.manifest("odd", nil)
	s.blob(data)
	s.put("1", data, http.StatusCreated)
	s.store.Collect()
	if !s.holds("layer odd") {
		t.Error("its layer was collected")
	}
}

func TestIdleUploadsEnd(t *testing.T) {
	s := newTestSite(t)
	location := s.chunk(s.begin(), 0, []byte("half a blob"), http.StatusAccepted).Header.Get("Location")
	s.clock = s.clock.Add(uploadIdle - time.Minute)
	s.endIdle(context.Background())
	location = s.chunk(location, 11, []byte(" more"), http.StatusAccepted).Header.Get("Location")
	s.clock = s.clock.Add(uploadIdle - time.Minute)
	s.endIdle(context.Background())
	s.call(http.MethodGet, location, nil, http.StatusNoContent)
	s.clock = s.clock.Add(uploadIdle)
	s.endIdle(context.Background())
	s.call(http.MethodGet, location, nil, http.StatusNotFound)
	s.wantNothingHeld()
}

func TestUploadsOfAFormerProcessEnd(t *testing.T) {
	s := newTestSite(t)
	former := s.chunk(s.begin(), 0, []byte("half a blob"), http.StatusAccepted).Header.Get("Location")
	s.start(t)
	now := s.chunk(s.begin(), 0, []byte("another"), http.StatusAccepted).Header.Get("Location")
	if err := s.abandonUploads(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.wantError(s.any(http.MethodPatch, former, []byte("x")), []int{http.StatusNotFound}, CodeBlobUploadUnknown)
	s.call(http.MethodPut, withDigest(now, digest.FromString("another")), nil, http.StatusCreated)
	s.call(http.MethodDelete, "/blobs/"+digest.FromString("another").String(), nil, http.StatusAccepted)
	s.wantNothingHeld()
}

func TestFullDisk(t *testing.T) {
	s := newTestSite(t)
	data := s.manifest("full", nil)
	location := s.begin()
	s.full = fmt.Errorf("%w: the disk is full", registry.ErrNoSpace)
	s.wantError(s.any(http.MethodPost, "/blobs/uploads/", nil), []int{http.StatusInsufficientStorage}, CodeUnavailable)
	s.wantError(s.any(http.MethodPatch, location, []byte("x")), []int{http.StatusInsufficientStorage}, CodeUnavailable)
	s.wantError(s.any(http.MethodPut, "/manifests/1", data, "Content-Type", ocispec.MediaTypeImageManifest), []int{http.StatusInsufficientStorage}, CodeUnavailable)
	s.full = nil
	s.put("1", data, http.StatusCreated)
}

// A connection that breaks off leaves an upload that goes on from where it was.
func TestResume(t *testing.T) {
	s := newTestSite(t)
	location := s.begin()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.server.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789", location)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusBadRequest {
		t.Fatalf("%v, %v", response, err)
	}
	conn.Close()
	status := s.call(http.MethodGet, location, nil, http.StatusNoContent)
	if got := status.Header.Get("Range"); got != "0-9" {
		t.Fatalf("Range is %q", got)
	}
	s.chunk(location, 10, []byte("abc"), http.StatusAccepted)
	s.call(http.MethodPut, withDigest(location, digest.FromString("0123456789abc")), nil, http.StatusCreated)
}

func TestRuleForWhatHasNoTag(t *testing.T) {
	s := newTestSite(t)
	image := s.manifest("signed", nil)
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(image), Size: int64(len(image))}
	s.put("1", image, http.StatusCreated)
	signature := s.manifest("signature", func(m *ocispec.Manifest) { m.Subject = &subject })
	stray := s.manifest("stray", nil)
	for _, data := range [][]byte{signature, stray} {
		s.put(digest.FromBytes(data).String(), data, http.StatusCreated)
	}
	want := func(reference []byte, status int) {
		t.Helper()
		s.call(http.MethodGet, "/manifests/"+digest.FromBytes(reference).String(), nil, status)
	}
	pass := func(d time.Duration) {
		t.Helper()
		s.clock = s.clock.Add(d)
		if err := s.collect(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	pass(untaggedGrace - time.Minute)
	want(stray, http.StatusOK)
	pass(2 * time.Minute)
	want(stray, http.StatusNotFound)
	want(signature, http.StatusOK)
	s.call(http.MethodDelete, "/manifests/1", nil, http.StatusAccepted)
	pass(0)
	want(signature, http.StatusNotFound)
	s.store.Collect()
	if s.holds("layer signature") || s.holds("layer stray") {
		t.Error("what has no name is still stored")
	}
	// The deletions are remembered, for a while.
	if all, err := s.Records(context.Background()); err != nil || len(all) != 3 || !all[0].Deleted {
		t.Errorf("%v, %v", all, err)
	}
	pass(deletedFor + time.Minute)
	if all, err := s.Records(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// A push is later than everything known, though the clock went back.
func TestClockThatWentBack(t *testing.T) {
	s := newTestSite(t)
	s.put("1", s.manifest("first", nil), http.StatusCreated)
	first, err := s.Records(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.clock = time.Unix(0, 0)
	s.start(t)
	data := s.manifest("second", nil)
	s.put("1", data, http.StatusCreated)
	second, err := s.Records(context.Background())
	if err != nil || !second[0].Later(first[0]) || second[0].Target.Digest != digest.FromBytes(data) {
		t.Errorf("%v, then %v: %v", first, second, err)
	}
}

func TestTake(t *testing.T) {
	from, to := newTestSite(t), newTestSite(t)
	from.put("1", from.manifest("taken", nil), http.StatusCreated)
	records, err := from.Records(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(ctx context.Context, desc ocispec.Descriptor) error {
		to.store.Blob(desc.MediaType, nil) // some other blob: nothing may depend on the order
		return copyBlob(ctx, from.store, to.store, desc)
	}
	broken := errors.New("broken")
	count := 0
	err = to.Take(context.Background(), records[0], func(ctx context.Context, desc ocispec.Descriptor) error {
		if count++; count == 3 {
			return broken
		}
		return fetch(ctx, desc)
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	to.call(http.MethodGet, "/manifests/1", nil, http.StatusNotFound)
	to.store.Collect()
	if to.holds("layer taken") {
		t.Error("content of an image that was not taken is kept")
	}
	if err := to.Take(context.Background(), records[0], fetch); err != nil {
		t.Fatal(err)
	}
	to.store.Collect()
	to.call(http.MethodGet, "/manifests/1", nil, http.StatusOK)
	to.call(http.MethodGet, "/blobs/"+digest.FromString("layer taken").String(), nil, http.StatusOK)
	to.wantNothingHeld()

	// An older record changes nothing, a later one does.
	older := records[0]
	older.Deleted, older.Time = true, older.Time.Add(-time.Second)
	for _, deleted := range []bool{false, true} {
		if deleted {
			older.Time = older.Time.Add(time.Hour)
		}
		if err := to.Take(context.Background(), older, fetch); err != nil {
			t.Fatal(err)
		}
		status := map[bool]int{false: http.StatusOK, true: http.StatusNotFound}[deleted]
		to.call(http.MethodGet, "/manifests/1", nil, status)
	}
	for _, name := range []string{"", "app", "UPPER:1", "app:-", "app@sha256:1", "../x:1"} {
		if err := to.Take(context.Background(), Record{Name: name, Deleted: true, Time: time.Now()}, fetch); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}
