package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airgap/internal/site"
)

// fake is a peer that answers for blobs in its own way, and remembers the ranges that it was asked for.
type fake struct {
	mu     sync.Mutex
	ranges []string
	answer func(w http.ResponseWriter, r *http.Request, data []byte)
	data   []byte
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.ranges = append(f.ranges, r.Header.Get("Range"))
	f.mu.Unlock()
	f.answer(w, r, f.data)
}

func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ranges
}

// breakOff gives the first half of data and no more.
func breakOff(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("Content-Length", "1000000")
	w.Write(data[:len(data)/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func wrongAndBreakOff(w http.ResponseWriter, r *http.Request, data []byte) {
	breakOff(w, r, bytes.Repeat([]byte("x"), len(data)))
}

func wrong(w http.ResponseWriter, r *http.Request, data []byte) { w.Write(make([]byte, len(data))) }
func short(w http.ResponseWriter, r *http.Request, data []byte) { w.Write(data[:10]) }
func gone(w http.ResponseWriter, r *http.Request, data []byte)  { w.WriteHeader(http.StatusNotFound) }

func endless(w http.ResponseWriter, r *http.Request, _ []byte) {
	for {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

func stalled(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Write(data[:1000])
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// alone makes a fetcher without a tracker that asks one fake peer and, unless it is left out, the seeder.
func (s *testSite) alone(answer func(http.ResponseWriter, *http.Request, []byte), withSeeder bool) (*joiner, *fake) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(string(s.content), strings.TrimPrefix(s.blobs[0].Digest, digestPrefix)))
	if err != nil {
		s.t.Fatal(err)
	}
	peer := &fake{answer: answer, data: data}
	at, _ := s.serve(peer)
	j := s.join(func(o *FetcherOptions) {
		o.Tracker, o.Peers = nil, []string{at}
		o.StallTimeout = 2 * time.Second
	})
	j.stall = 300 * time.Millisecond
	if withSeeder { // once the fake has had its turn
		go func() {
			for len(peer.asked()) == 0 {
				time.Sleep(5 * time.Millisecond)
			}
			j.mu.Lock()
			j.options.Peers = []string{s.seeder, at}
			j.rests[at] = rest{until: time.Now().Add(time.Minute), ever: j.rests[at].ever}
			j.mu.Unlock()
		}()
	}
	return j, peer
}

func TestWhateverAPeerDoesTheBlobComes(t *testing.T) {
	s := newTestSite(t, []int64{1000000})
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, []byte){
		"breaks off": breakOff, "wrong, and breaks off": wrongAndBreakOff, "wrong": wrong, "short": short, "endless": endless, "stalls": stalled, "has nothing": gone,
	} {
		t.Run(name, func(t *testing.T) {
			j, _ := s.alone(answer, true)
			if err := j.takeAll(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestABrokenBlobGoesOnAtAnotherPeer(t *testing.T) {
	s := newTestSite(t, []int64{1000000})
	broken, _ := s.alone(breakOff, false)
	second := &fake{}
	second.answer = func(w http.ResponseWriter, r *http.Request, data []byte) {
		handler := NewHandler(s.content, nil)
		handler.ServeHTTP(w, r)
	}
	at, egress := s.serve(second)
	first := broken.options.Peers[0]
	broken.mu.Lock()
	broken.options.Peers = []string{first, at}
	broken.mu.Unlock()
	if err := broken.takeAll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if asked := second.asked(); len(asked) != 1 {
		t.Errorf("the second peer was asked %d times", len(asked))
	} else if asked[0] != "" { // the second may have come first
		if asked[0] != "bytes=500000-" || egress.Load() > 600000 {
			t.Errorf("it was asked for %s and gave %d bytes", asked[0], egress.Load())
		}
	}
}

func TestWhoGaveWrongBytesIsBlamed(t *testing.T) {
	s := newTestSite(t, []int64{1000000})
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request, []byte)
		blamed bool
	}{
		"all of them":              {wrong, true},
		"too few":                  {short, true},
		"endless":                  {endless, true},
		"a part, the rest is good": {wrongAndBreakOff, false},
		"none":                     {gone, false},
	} {
		t.Run(name, func(t *testing.T) {
			j, _ := s.alone(test.answer, true)
			hostile := j.options.Peers[0]
			if err := j.takeAll(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			j.mu.Lock()
			defer j.mu.Unlock()
			if j.rests[hostile].ever != test.blamed || j.rests[s.seeder].ever {
				t.Errorf("blamed: hostile %v, seeder %v", j.rests[hostile].ever, j.rests[s.seeder].ever)
			}
		})
	}
}

func TestNobodyGivesAnything(t *testing.T) {
	s := newTestSite(t, []int64{1000000, 10})
	j, _ := s.alone(gone, false)
	err := j.takeAll(t.Context(), 0)
	if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "2 blobs are missing") || !strings.Contains(err.Error(), j.options.Peers[0]+": it does not have") {
		t.Errorf("got %v", err)
	}
}

// accomplice is a tracker that always names the same peer.
type accomplice struct {
	of    string
	asked atomic.Int32
}

func (a *accomplice) Exchange(_ context.Context, r site.ExchangeRequest) (*site.ExchangeResponse, error) {
	a.asked.Add(1)
	answer := &site.ExchangeResponse{}
	for _, digest := range r.Want {
		answer.Take = append(answer.Take, site.Take{Digest: digest, From: a.of})
	}
	return answer, nil
}

// Nobody is waited for when all that can be asked have given wrong bytes, whatever the tracker says.
func TestOnlyLiars(t *testing.T) {
	s := newTestSite(t, []int64{1000000, 10})
	liar := &fake{answer: wrong}
	at, _ := s.serve(liar)
	tracker := &accomplice{of: at}
	j := s.join(func(o *FetcherOptions) { o.Tracker, o.Peers = tracker, []string{at} })
	j.mu.Lock()
	j.hopeless = time.Second
	j.mu.Unlock()
	began := time.Now()
	err := j.takeAll(t.Context(), 0)
	if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), at+": it ") || !strings.Contains(err.Error(), errLiars.Error()) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if n := tracker.asked.Load(); n > 30 {
		t.Errorf("the tracker was asked %d times", n)
	}
}

func TestSpoolOfAnEarlierRun(t *testing.T) {
	s := newTestSite(t, []int64{300000, 200000, 100000, 500000})
	dir := t.TempDir()
	spool := func(i int, suffix string, change func([]byte) []byte) {
		name := strings.TrimPrefix(s.blobs[i].Digest, digestPrefix)
		data, err := os.ReadFile(filepath.Join(string(s.content), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+suffix), change(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	spool(0, "", func(b []byte) []byte { return b })                         // whole
	spool(1, "", func(b []byte) []byte { b[5] ^= 1; return b })              // rotten
	spool(2, ".part", func(b []byte) []byte { b[5] ^= 1; return b[:50000] }) // begun, rotten
	spool(3, ".part", func(b []byte) []byte { return b[:400000] })           // begun
	j := s.join(func(o *FetcherOptions) { o.Dir = dir })
	if err := j.takeAll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if got := s.egress.Load(); got < 400000 || got > 500000 {
		t.Errorf("%d bytes came over the network: want 200000 + (50000 and once more) 100000 + 100000", got)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("the spool has %v, %v", left, err)
	}
}

// silent is a tracker that does not answer.
type silent struct{ asked atomic.Int32 }

func (s *silent) Exchange(context.Context, site.ExchangeRequest) (*site.ExchangeResponse, error) {
	s.asked.Add(1)
	return nil, errors.New("no route to host")
}

func TestWithoutATrackerTheSeedersAreAsked(t *testing.T) {
	s := newTestSite(t, []int64{1000000, 1000})
	tracker := &silent{}
	j := s.join(func(o *FetcherOptions) { o.Tracker = tracker })
	j.mu.Lock()
	j.heard = j.heard.Add(-trackerPatience)
	j.mu.Unlock()
	if err := j.takeAll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if tracker.asked.Load() == 0 {
		t.Error("the tracker was not even asked")
	}
}

func TestFetcherAnnouncesAndServesWhatItHas(t *testing.T) {
	s := newTestSite(t, []int64{1000000})
	first := s.join(nil)
	if err := first.takeAll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	before := s.egress.Load()
	second := s.join(nil)
	if err := second.takeAll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if more := s.egress.Load() - before; more > 10000 {
		t.Errorf("the second took %d bytes from the seeder", more)
	}
	found := s.join(nil)
	found.Have(blobNamed("found elsewhere"))
	for wait := 0; ; wait++ {
		s.theTracker.mu.Lock()
		k, _ := parseKey(blobNamed("found elsewhere"))
		known := s.theTracker.table.blobs[k] != nil
		s.theTracker.mu.Unlock()
		if known {
			break
		}
		if wait == 100 {
			t.Fatal("what was found is not announced")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestBundlesAndTheirFiles(t *testing.T) {
	s := newTestSite(t, nil)
	manifest := s.content.put(t, []byte("{}"))
	j := s.join(nil)
	bundles, err := j.Bundles(t.Context())
	if err != nil || len(bundles) != 1 || bundles[0].Name != "site-a" {
		t.Errorf("%v, %v", bundles, err)
	}
	if data, err := j.Fetcher.File(t.Context(), manifest, "airgap.json", 2); err != nil || string(data) != "{}" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := j.Fetcher.File(t.Context(), manifest, "airgap.json.sig", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := j.Fetcher.File(t.Context(), manifest, "airgap.json", 1); err == nil || !strings.Contains(err.Error(), "more than 1 bytes") {
		t.Errorf("a file that is too large: %v", err)
	}
	if err := j.Fetch(t.Context(), []site.Blob{{Digest: "../../etc/passwd"}}); err == nil {
		t.Error("a path is taken for a digest")
	}
	if _, err := j.Fetcher.Blob(blobNamed("absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob that is not there: %v", err)
	}
	if _, _, err := j.Next(t.Context()); err != io.EOF {
		t.Errorf("with nothing wanted Next returns %v", err)
	}
}
