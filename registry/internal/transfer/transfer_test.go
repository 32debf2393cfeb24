package transfer

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// deadlines records those that are set.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestDeadlineMovesOnAndIsGoneAtTheEnd(t *testing.T) {
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	w := Writer(d, httptest.NewRequest("GET", "/", nil))
	if len(d.set) != 0 {
		t.Error("a deadline is set before anything is copied: an upload would run into it")
	}
	data := bytes.Repeat([]byte("x"), 2*pieceBytes+10)
	n, err := io.Copy(w, struct{ io.Reader }{bytes.NewReader(data)})
	if err != nil || n != int64(len(data)) || !bytes.Equal(d.Body.Bytes(), data) {
		t.Fatalf("%d bytes of %d, %v", n, len(data), err)
	}
	if len(d.set) != 4 || !d.set[3].IsZero() {
		t.Errorf("deadlines %v: want one for each of three pieces, and none at the end", d.set)
	}
	for _, until := range d.set[:3] {
		if left := time.Until(until); left > pieceTimeout || left < pieceTimeout/2 {
			t.Errorf("a deadline is %v away", left)
		}
	}
	if Writer(w, nil) != w {
		t.Error("a writer is wrapped twice")
	}
}

func TestFilesArriveWhole(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 3*pieceBytes/10)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		http.ServeContent(Writer(w, r), r, "", time.Time{}, file)
	})
	for name, server := range map[string]*httptest.Server{"plain": httptest.NewServer(handler), "TLS": httptest.NewTLSServer(handler)} {
		defer server.Close()
		for _, from := range []int{0, 1, pieceBytes, len(data) - 1} {
			request, err := http.NewRequest("GET", server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || !bytes.Equal(got, data[from:]) {
				t.Errorf("%s from %d: %d bytes, %v", name, from, len(got), err)
			}
		}
	}
}
