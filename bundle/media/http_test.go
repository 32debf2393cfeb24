package media

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"airgap/bundle"
)

// breaking serves what it wraps but breaks the connection of each answer after so many bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.ResponseWriter.Write(p[:b.left])
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

func TestDownload(t *testing.T) {
	s := newSite(t)
	stamp := time.Unix(1e9, 0)
	for name, test := range map[string]struct {
		serve    http.HandlerFunc
		want     error
		text     string
		requests int32
	}{
		"whole": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", stamp, bytes.NewReader(s.data))
		}, nil, "", 1},
		"of unknown length": {func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(s.data)
		}, nil, "", 1},
		"broken off twice": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(&breaking{w, 700_000}, r, "", stamp, bytes.NewReader(s.data))
		}, nil, "", 3},
		"broken off, and no ranges": {func(w http.ResponseWriter, r *http.Request) {
			limit := len(s.data)
			if r.Header.Get("Range") == "" {
				limit = 700_000
			}
			r.Header.Del("Range")
			http.ServeContent(&breaking{w, limit}, r, "", stamp, bytes.NewReader(s.data))
		}, nil, "", 2},
		"changed meanwhile": {func(w http.ResponseWriter, r *http.Request) {
			tag := `"1"`
			if r.Header.Get("Range") != "" {
				tag = `"2"`
			}
			w.Header().Set("ETag", tag)
			http.ServeContent(&breaking{w, 700_000}, r, "", time.Time{}, bytes.NewReader(s.data))
		}, errChanged, "", 2},
		"gone meanwhile": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				http.NotFound(w, r)
				return
			}
			http.ServeContent(&breaking{w, 700_000}, r, "", stamp, bytes.NewReader(s.data))
		}, fs.ErrNotExist, "404", 2},
		"not there": {http.NotFound, fs.ErrNotExist, "404 Not Found", 1},
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, nil, "403 Forbidden", 1},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			http.ServeContent(w, &http.Request{Method: "GET"}, "", stamp, bytes.NewReader(s.data[:1_000_000]))
		}, bundle.ErrTruncated, "the server has 1000000 bytes of ", 1},
		"one bit": {func(w http.ResponseWriter, r *http.Request) {
			w.Write(append(bytes.Clone(s.data[:1_000_000]), bytes.Repeat([]byte{0}, len(s.data)-1_000_000)...))
		}, bundle.ErrDigest, "copy the bundle to the server again", 1},
		"other page": {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>log in first</html>")) }, bundle.ErrTruncated, "not a bundle", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				test.serve(w, r)
			}))
			defer server.Close()
			location := strings.Replace(server.URL, "http://", "http://user:secret@", 1) + "/site.airgap"
			err := s.verify(location, Options{})
			if fails := test.want != nil || test.text != ""; fails != (err != nil) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if err != nil && (!strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("error %v, want %q and no password", err, test.text)
			}
			if got := requests.Load(); got != test.requests {
				t.Errorf("%d requests, want %d", got, test.requests)
			}
		})
	}
}

func TestDownloadOfParts(t *testing.T) {
	s := newSite(t)
	whole := s.cut(t, 600_000)
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(whole))))
	defer server.Close()
	if err := s.verify(server.URL+"/site.airgap.001", Options{}); err != nil {
		t.Error(err)
	}
	moved := t.TempDir()
	if err := os.Rename(bundle.PartName(whole, 3), filepath.Join(moved, "site.airgap.003")); err != nil {
		t.Fatal(err)
	}
	if err := s.verify(server.URL+"/site.airgap.001", Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "site.airgap.003 is not in "+server.URL) {
		t.Errorf("one missing: %v", err)
	}
	if err := s.verify(server.URL+"/site.airgap.001", Options{PartsIn: []string{moved}}); err != nil {
		t.Errorf("the rest on a stick: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s := newSite(t)
	if err := s.verify(server.URL+"/site.airgap", Options{}); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.verifyWithin(ctx, server.URL+"/site.airgap", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
