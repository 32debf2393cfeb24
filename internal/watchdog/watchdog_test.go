package watchdog

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

var errNone = errors.New("no proof")

// rounds runs a watchdog until its part was asked n times, and counts its hangs and signs of life.
func rounds(t *testing.T, n int, proof func(round int) error, now func() time.Time) (hung, alive int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	asked := 0
	w := &Watchdog{
		Parts: []Part{{Name: "part", Hung: func(error) { hung++ }, Proof: func(context.Context) error {
			if asked++; asked > n {
				cancel()
			}
			return proof(asked)
		}}},
		Alive: func() { alive++ }, interval: time.Microsecond, now: now,
	}
	w.Run(ctx)
	return hung, alive
}

func TestHung(t *testing.T) {
	base := time.Now()
	late := base
	tests := []struct {
		name  string
		proof func(round int) error
		now   func() time.Time
		hung  int
	}{
		{"works", func(int) error { return nil }, nil, 0},
		{"hangs", func(int) error { return errNone }, nil, 2},
		{"answers now and then", func(round int) error {
			if round%(Patience-1) == 0 {
				return nil
			}
			return errNone
		}, nil, 0},
		{"is being started", func(int) error { return &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }, nil, 0},
		{"does not answer, and neither does the machine", func(int) error { return errNone }, func() time.Time {
			late = late.Add(tolerance * 2) // each look at the clock is that much later
			return late
		}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock := test.now
			if clock == nil {
				clock = func() time.Time { return base }
			}
			n := 2*Patience + 3
			hung, alive := rounds(t, n, test.proof, clock)
			if hung != test.hung {
				t.Errorf("%d hangs in %d rounds, want %d", hung, n, test.hung)
			}
			if alive != n {
				t.Errorf("%d signs of life in %d rounds", alive, n)
			}
		})
	}
}

func TestHTTP(t *testing.T) {
	block := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/no", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sync loop", 500) })
	mux.HandleFunc("/hang", func(http.ResponseWriter, *http.Request) { <-block })
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	defer close(block)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := HTTP(server.URL+"/ok", false)(ctx); err != nil {
		t.Error(err)
	}
	if err := HTTP(server.URL+"/no", true)(ctx); err != nil {
		t.Errorf("any answer is a proof: %v", err)
	}
	if err := HTTP(server.URL+"/no", false)(ctx); err == nil || !strings.Contains(err.Error(), "sync loop") {
		t.Errorf("500: %v", err)
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := HTTP(server.URL+"/hang", true)(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if err := HTTP("http://127.0.0.1:1/", true)(ctx); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v", err)
	}
}
