package bundle

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/internal/progress"
	"airgap/signing"
)

// TestTransfers has a bundle with two long layers made and copied: each layer has a report of its own while it moves, and
// small entries have none.
func TestTransfers(t *testing.T) {
	key, policy := signer(t, siteKey)
	content := testContent(t, 3<<20)
	path := filepath.Join(t.TempDir(), "site.airgap")
	var begun transfers
	if _, err := Create(context.Background(), path, content, CreateOptions{Signers: []*signing.PrivateKey{key}, Transfer: begun.begin}); err != nil {
		t.Fatal(err)
	}
	begun.check(t, "created")
	begun = transfers{}
	r, err := Open(path, policy)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := Copy(context.Background(), r, path+".copy", CopyOptions{Transfer: begun.begin}); err != nil {
		t.Fatal(err)
	}
	begun.check(t, "copied")
}

// transfers are those that have been begun.
type transfers struct {
	mu     sync.Mutex
	labels []string
	out    []*bytes.Buffer
}

func (r *transfers) begin(label string, total int64) *progress.Transfer {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Unix(0, 0)
	out := &bytes.Buffer{}
	r.labels, r.out = append(r.labels, label), append(r.out, out)
	return progress.New(out, true, "all", 0).WithClock(func() time.Time { now = now.Add(time.Second); return now }).Begin(label, total)
}

func (r *transfers) check(t *testing.T, what string) {
	t.Helper()
	if len(r.labels) != 2 || !strings.HasPrefix(r.labels[0], "layer ") || !strings.HasPrefix(r.labels[1], "layer ") || r.labels[0] == r.labels[1] {
		t.Errorf("%s: %q", what, r.labels)
	}
	for i, out := range r.out {
		if !strings.Contains(out.String(), r.labels[i]+": 100 %") {
			t.Errorf("%s: %s was not told to its end: %q", what, r.labels[i], out)
		}
	}
}
