package media

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newFIFO makes a pipe with a name.
func newFIFO(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNamedPipe(t *testing.T) {
	s, path := newSite(t), newFIFO(t)
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(path, s.data, 0) }()
	if err := s.verify(path, Options{}); err != nil {
		t.Error(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestNamedPipeOfNobody reads from a pipe that nobody writes to, and from one whose writer says nothing: both end with the context.
func TestNamedPipeOfNobody(t *testing.T) {
	s := newSite(t)
	silent := newFIFO(t)
	writer, err := os.OpenFile(silent, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for name, path := range map[string]string{"nobody": newFIFO(t), "silent": silent} {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.verifyWithin(ctx, path, Options{}) }()
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it still waits", name)
		}
	}
}
