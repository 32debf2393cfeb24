package peer

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airgap/internal/site"
)

// realistic is the sizes of a bundle of about total bytes: small metadata, layers from kilobytes up, and a few that are most
// of it.
func realistic(total int64) (sizes []int64) {
	for i := range min(60, total>>18) { // manifests, configurations, charts
		sizes = append(sizes, 500+int64(i)*150)
	}
	for i := range 30 { // small layers
		sizes = append(sizes, 20000+int64(i)*total/30000)
	}
	for _, percent := range []int64{20, 16, 13, 12, 9, 7, 5, 4, 3, 3, 2, 2, 1, 1} {
		sizes = append(sizes, total*percent/100)
	}
	return sizes
}

// swarmOutcome is what a run of many joiners came to.
type swarmOutcome struct {
	took    time.Duration
	egress  float64 // of the seeder, in copies of the bundle
	refuted int     // hostile bodies that were sent
}

// runSwarm lets joiners take everything at once. Some of them die on the way; hostile ones say from the start that they have everything.
func runSwarm(t testing.TB, s *testSite, joiners, dying, hostile int, stall time.Duration) swarmOutcome {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var bad atomic.Int64
	var attacks sync.WaitGroup
	defer attacks.Wait()
	attack, stopAttack := context.WithCancel(ctx)
	defer stopAttack()
	for i := range hostile {
		address, _ := s.serve(hostileHandler(i, &bad))
		attacks.Go(func() { announceEverything(attack, s, address) })
	}
	if hostile > 0 {
		time.Sleep(50 * time.Millisecond) // they are there before the others
	}
	began := time.Now()
	results := make(chan error, joiners)
	for i := range joiners {
		j := s.join(nil)
		j.stall = stall
		go func() {
			if i < dying {
				err := j.takeAll(ctx, len(s.blobs)/2+i)
				j.stop()
				results <- err
				return
			}
			err := j.takeAll(ctx, 0)
			if err != nil {
				err = fmt.Errorf("joiner %d has %d of %d blobs: %w", i, len(j.got), len(s.blobs), err)
			}
			results <- err
		}()
	}
	for range joiners {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	return swarmOutcome{time.Since(began), float64(s.egress.Load()) / float64(s.bytes), int(bad.Load())}
}

// hostileHandler gives, in turn, wrong bytes, bytes without end, and a beginning after which nothing comes.
func hostileHandler(first int, bad *atomic.Int64) http.Handler {
	var asked atomic.Int64
	asked.Store(int64(first))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, site.PathBlobs) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		bad.Add(1)
		piece := make([]byte, 64<<10)
		switch asked.Add(1) % 3 {
		case 0: // as long as it is wanted, and then some
			for {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		case 1:
			w.Header().Set("Content-Length", "10")
			w.Write(piece[:10])
		case 2:
			w.Write(piece[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})
}

// announceEverything is what a hostile joiner tells the tracker, again and again.
func announceEverything(ctx context.Context, s *testSite, address string) {
	request := site.ExchangeRequest{Address: address}
	for _, b := range s.blobs {
		request.Have = append(request.Have, b.Digest)
	}
	for ctx.Err() == nil {
		exchange{s.tracker.URL}.Exchange(ctx, request)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func TestManyJoinersTakeFromEachOther(t *testing.T) {
	const joiners = 50
	s := newTestSite(t, realistic(8<<20))
	outcome := runSwarm(t, s, joiners, 5, 2, time.Second)
	t.Logf("%d joiners of %d bytes each in %v: the seeder gave %.2f copies; %d bodies were hostile",
		joiners, s.bytes, outcome.took.Round(time.Millisecond), outcome.egress, outcome.refuted)
	if outcome.egress > 3 {
		t.Errorf("the seeder gave %.2f copies of the bundle to %d joiners, at most 3 are allowed", outcome.egress, joiners)
	}
	if outcome.refuted == 0 {
		t.Error("nobody asked the hostile peers: the test shows nothing about them")
	}
}

// BenchmarkSwarm is the same at full size: 50 joiners, 500 MB each, over mutual TLS on loopback.
func BenchmarkSwarm(b *testing.B) {
	for b.Loop() {
		s := newTestSite(b, realistic(500e6))
		outcome := runSwarm(b, s, 50, 5, 2, stallTimeout)
		b.Logf("swarm: 50 joiners, %.0f MB each, %d blobs, 5 die, %d hostile bodies: %.1f s, %.3f copies",
			float64(s.bytes)/1e6, len(s.blobs), outcome.refuted, outcome.took.Seconds(), outcome.egress)
	}
}

// BenchmarkSlowLinks is 50 joiners on links that need two seconds to send the bundle once: what whole blobs cost in time, against the two seconds
// of an ideal division into pieces and the hundred of a seeder alone.
func BenchmarkSlowLinks(b *testing.B) {
	const total, seconds = 16e6, 2
	for _, bundle := range []struct {
		name  string
		sizes []int64
	}{{"layers of a usual bundle", realistic(total)}, {"one layer of 80 %", append(realistic(total/5), total*4/5)}} {
		b.Run(bundle.name, func(b *testing.B) {
			for b.Loop() {
				s := newSlowSite(b, bundle.sizes, total/seconds)
				outcome := runSwarm(b, s, 50, 0, 0, stallTimeout)
				b.Logf("slow links, %s: %.1f times as long as the seeder sends it once, %.3f copies", bundle.name,
					outcome.took.Seconds()/(float64(s.bytes)/s.uplink), outcome.egress)
			}
		})
	}
}
