package media

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"airgap/bundle"
)

// readBackwards opens all entries of a bundle from the last to the first and holds them against their digests.
func (s *site) readBackwards(location string, o Options) error {
	ctx := context.Background()
	r, err := Open(ctx, location, s.trust, o)
	if err != nil {
		return err
	}
	defer r.Close()
	blobs, err := OpenBlobs(ctx, location, r, o)
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(r.Manifest().Carried()) {
		opened, err := blobs.Open(ctx, e)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(opened)
		opened.Close()
		if err != nil {
			return err
		}
		if digest.FromBytes(data).Encoded() != e.SHA256 || int64(len(data)) != e.Size {
			return bundle.ErrDigest
		}
	}
	return nil
}

// counting adds up what a server sends.
type counting struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

func TestBlobsOfAServer(t *testing.T) {
	s := newSite(t)
	stamp := time.Unix(1e9, 0)
	serve := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", stamp, bytes.NewReader(data))
		}
	}
	for name, test := range map[string]struct {
		sections http.HandlerFunc // what answers requests for sections
		want     error
	}{
		"as they are":         {serve(s.data), nil},
		"broken off":          {func(w http.ResponseWriter, r *http.Request) { serve(s.data)(&breaking{w, 900_000}, r) }, nil},
		"no ranges":           {func(w http.ResponseWriter, r *http.Request) { r.Header.Del("Range"); serve(s.data)(w, r) }, ErrInOrder},
		"shorter":             {serve(s.data[:1_000_000]), bundle.ErrTruncated},
		"a byte less":         {serve(s.data[:len(s.data)-1]), bundle.ErrTruncated},
		"longer":              {serve(append(bytes.Clone(s.data), 0)), bundle.ErrFormat},
		"another file by now": {changing(s.data), errChanged},
		"one bit":             {serve(bytes.Replace(s.data, []byte{'a', 0, 1, 0, 'a'}, []byte{'a', 0, 1, 1, 'a'}, 1)), bundle.ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") == "" {
					serve(s.data)(w, r)
					return
				}
				test.sections(w, r)
			}))
			defer server.Close()
			location := strings.Replace(server.URL, "http://", "http://user:secret@", 1) + "/site.airgap"
			if err := s.readBackwards(location, Options{}); !errors.Is(err, test.want) || err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// changing serves a file that becomes another one after its first section.
func changing(data []byte) http.HandlerFunc {
	var requests atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Unix(1e9+requests.Add(1)/2, 0), bytes.NewReader(data))
	}
}

// Nothing but what is opened is asked for.
func TestBlobsAreSentOnce(t *testing.T) {
	s := newSite(t)
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(counting{w, &sent}, r, "", time.Unix(1e9, 0), bytes.NewReader(s.data))
	}))
	defer server.Close()
	ctx := context.Background()
	r, err := Open(ctx, server.URL, s.trust, Options{})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := OpenBlobs(ctx, server.URL, r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	entries := r.Manifest().Carried()
	smallest := slices.MinFunc(entries, func(a, b bundle.Entry) int { return int(a.Size - b.Size) })
	sent.Store(0)
	opened, err := blobs.Open(ctx, smallest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, opened); err != nil || sent.Load() != smallest.Size {
		t.Errorf("%d bytes were sent for %d, %v", sent.Load(), smallest.Size, err)
	}
	opened.Close()
}

func TestBlobsOfARegistry(t *testing.T) {
	s, there := newSite(t), newServer(t)
	location := "oci://" + there.host + "/bundles/site-a:1.0.0"
	s.push(t, location)
	if err := s.readBackwards(location, Options{}); err != nil {
		t.Error(err)
	}
}

func TestMediaThatComeInOrder(t *testing.T) {
	s := newSite(t)
	whole := s.cut(t, 600_000)
	for _, location := range []string{s.path, whole, bundle.PartName(whole, 1)} {
		if err := s.readBackwards(location, Options{}); !errors.Is(err, ErrInOrder) {
			t.Errorf("%s: %v", location, err)
		}
	}
}
