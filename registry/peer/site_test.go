package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airgap/internal/site"
	"airgap/internal/testca"
)

// testSite is a server with a tracker and everything, a seeder, and an authority that makes its machines nodes.
type testSite struct {
	t          testing.TB
	tracker    *httptest.Server
	theTracker *Tracker
	seeder     string // "address:port"
	egress     *atomic.Int64
	content    folder
	blobs      []site.Blob
	uplink     float64 // bytes a second that each machine can send; 0: any
	bytes      int64
	ca         *testca.Authority
}

// newTestSite makes one whose bundle has blobs of the given sizes.
func newTestSite(t testing.TB, sizes []int64) *testSite { return newSlowSite(t, sizes, 0) }

// newSlowSite makes one whose machines can send so many bytes a second each; 0: any.
func newSlowSite(t testing.TB, sizes []int64, uplink float64) *testSite {
	s := &testSite{t: t, content: folder(t.TempDir()), uplink: uplink}
	s.ca = testca.New(t, "test")
	random := mathrand.NewChaCha8([32]byte{1})
	for _, size := range sizes {
		data := make([]byte, size)
		random.Read(data)
		s.blobs = append(s.blobs, site.Blob{Digest: s.content.put(t, data), Size: size})
		s.bytes += size
	}
	s.seeder, s.egress = s.serve(NewHandler(s.content, nil))
	s.theTracker = NewTracker(TrackerOptions{Seeders: func() []string { return []string{s.seeder} }, Seed: 1})
	s.tracker = httptest.NewServer(s.theTracker)
	t.Cleanup(s.tracker.Close)
	return s
}

// certificate makes one for a server on loopback and a client of an organization.
func (s *testSite) certificate(organization string) *tls.Certificate {
	s.t.Helper()
	return s.ca.Issue(testca.Leaf{Name: "system:node:" + rand.Text(), Organization: organization, Hosts: []string{"127.0.0.1"}})
}

// clientTLS is a node's.
func (s *testSite) clientTLS(organization string) *tls.Config {
	s.t.Helper()
	certificate := s.certificate(organization)
	config, err := site.TLSConfig(s.ca.PEM, func() (*tls.Certificate, error) { return certificate, nil })
	if err != nil {
		s.t.Fatal(err)
	}
	return config
}

// serve answers peers until the test ends, and counts the bytes that leave.
func (s *testSite) serve(handler http.Handler) (address string, egress *atomic.Int64) {
	address, egress, _ = s.start(handler)
	return address, egress
}

// start is serve for a machine that dies by stop.
func (s *testSite) start(handler http.Handler) (address string, egress *atomic.Int64, stop func()) {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	certificate := s.certificate(site.NodesGroup)
	egress = &atomic.Int64{}
	server := NewServer(handler, ServerTLS(func() ([]byte, error) { return s.ca.PEM, nil },
		func() (*tls.Certificate, error) { return certificate, nil }), log.New(io.Discard, "", 0))
	go server.ServeTLS(countingListener{listener, &uplink{written: egress, rate: s.uplink}}, "", "")
	s.t.Cleanup(func() { server.Close() })
	return listener.Addr().String(), egress, func() { server.Close() }
}

// countingListener counts what its connections write, and lets no more through than its machine can send.
type countingListener struct {
	net.Listener
	link *uplink
}

// uplink is what one machine sends.
type uplink struct {
	written *atomic.Int64
	rate    float64 // bytes a second; 0: any
	mu      sync.Mutex
	free    time.Time // when what was sent is through
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, l.link}, err
}

type countingConn struct {
	net.Conn
	link *uplink
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.link.send(n)
	return n, err
}

func (l *uplink) send(n int) {
	l.written.Add(int64(n))
	if l.rate == 0 {
		return
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	time.Sleep(wait)
}

// exchange talks to the site's tracker without the server's authentication.
type exchange struct{ url string }

func (e exchange) Exchange(ctx context.Context, request site.ExchangeRequest) (*site.ExchangeResponse, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	var answer site.ExchangeResponse
	return &answer, json.NewDecoder(response.Body).Decode(&answer)
}

// joiner is a machine of the site that is being installed. What it has taken it serves from the seeder's folder: the
// bytes are the same, for their digest was verified, and fifty copies would not fit.
type joiner struct {
	*Fetcher
	site *testSite
	stop func()
	got  map[string]bool
}

func (j *joiner) List() ([]site.Bundle, error)          { return nil, nil }
func (j *joiner) File(string, string) (*os.File, error) { return nil, os.ErrNotExist }
func (j *joiner) served(digest string) (file *os.File, _ error) {
	if file, err := j.Blob(digest); err == nil {
		return file, nil
	}
	j.mu.Lock()
	w := j.blobs[digest]
	has := w != nil && w.state == held
	j.mu.Unlock()
	if !has {
		return nil, os.ErrNotExist
	}
	return j.site.content.Blob(digest)
}

// servedContent makes a joiner's Blob the whole of what it has.
type servedContent struct{ *joiner }

func (c servedContent) Blob(digest string) (*os.File, error) { return c.served(digest) }

// join makes a joiner with a spool of its own; change may change its options.
func (s *testSite) join(change func(*FetcherOptions)) *joiner {
	s.t.Helper()
	j := &joiner{site: s, got: map[string]bool{}}
	ready := make(chan struct{})
	handler := NewHandler(servedContent{j}, nil)
	address, _, stop := s.start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-ready
		handler.ServeHTTP(w, r)
	}))
	options := FetcherOptions{Tracker: exchange{s.tracker.URL}, TLS: s.clientTLS(site.NodesGroup), Peers: []string{s.seeder}, Address: address, Dir: s.t.TempDir()}
	if change != nil {
		change(&options)
	}
	fetcher, err := NewFetcher(options)
	if err != nil {
		s.t.Fatal(err)
	}
	j.Fetcher = fetcher
	close(ready)
	j.stop = func() { stop(); fetcher.Close() }
	s.t.Cleanup(j.stop)
	return j
}

// takeAll takes and verifies up to limit blobs; all if limit is 0.
func (j *joiner) takeAll(ctx context.Context, limit int) error {
	if err := j.Fetch(ctx, j.site.blobs); err != nil {
		return err
	}
	for limit == 0 || len(j.got) < limit {
		digest, file, err := j.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		file.Close()
		j.got[digest] = true
		if err := j.Fetcher.Done(digest); err != nil {
			return err
		}
	}
	if limit == 0 && len(j.got) != len(j.site.blobs) {
		return errors.New("blobs are missing at the end")
	}
	return nil
}
