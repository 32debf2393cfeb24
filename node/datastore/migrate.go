package datastore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"airgap/node/config"
)

// ErrNotEmpty is the error of a migration to a datastore that holds a cluster's state already.
var ErrNotEmpty = errors.New("the datastore to copy to is not empty")

// Migration copies all that Kubernetes keeps in one datastore to another. No server may run on either.
//
// Keys and values are copied as they are: what is encrypted at rest stays encrypted with the same key. A key with a lease gets its time
// to live again. Old revisions are not copied. Revisions go on above the source's, and the copy looks to clients like a datastore that was
// compacted there, so that nobody who remembers a resourceVersion can miss a change; etcd, whose revision cannot be set, is
// raised by writes, as far as [maxRaise].
//
// In an SQL database everything happens in one transaction that is committed only if what is read back is what was read: after a failure
// the database is as it was. In etcd a mark stands while the copy is incomplete, and the next try begins again.
type Migration struct {
	From, To  config.Datastore
	Dir       string // of this node's SQLite files, for the side that is SQLite
	Overwrite bool   // remove what is there
	Progress  func(doneBytes, totalBytes int64)
}

// Copied is what a migration has done.
type Copied struct {
	Keys     int64  `json:"keys"`
	Bytes    int64  `json:"bytes"` // of the values
	Digest   string `json:"digest"`
	Revision int64  `json:"revision"` // of the copy
	Behind   int64  `json:"behind"`   // by so many revisions the copy is behind its source; 0 but for etcd
}

// record is a key as it stands.
type record struct {
	key   string
	value []byte
	ttl   int64 // seconds; 0: no end
}

// A side is a datastore to copy from, or to.
type side interface {
	// read calls visit for every key of Kubernetes, in one consistent view that has a revision and so many bytes of values
	// (0: not known).
	read(ctx context.Context, begin func(revision, bytes int64) error, visit func(record) error) error
	// write replaces all that is there by what the source has, and returns its revision.
	write(ctx context.Context, m Migration, from side, c *copying) (revision int64, err error)
	close()
}

// Migrate does it.
func Migrate(ctx context.Context, m Migration) (*Copied, error) {
	if m.From.String() == m.To.String() {
		return nil, fmt.Errorf("%s is both the datastore to copy from and the one to copy to", m.To)
	}
	from, err := openSide(ctx, m.From, m.Dir, false)
	if err != nil {
		return nil, fmt.Errorf("the datastore to copy from, %s: %w", m.From, plain(m.From, err))
	}
	defer from.close()
	to, err := openSide(ctx, m.To, m.Dir, true)
	if err != nil {
		return nil, fmt.Errorf("the datastore to copy to, %s: %w", m.To, plain(m.To, err))
	}
	defer to.close()
	c := &copying{progress: m.Progress}
	revision, err := to.write(ctx, m, from, c)
	if err != nil {
		return nil, plain(m.To, plain(m.From, err))
	}
	return &Copied{
		Keys: c.sum.keys, Bytes: c.sum.bytes, Digest: c.sum.digest(), Revision: revision, Behind: max(0, c.revision-revision),
	}, nil
}

// plain keeps passwords out of an error and says what to do about it.
func plain(s config.Datastore, err error) error {
	if remedyFor(err) == "" && s.Redact(err.Error()) == err.Error() {
		return err
	}
	return &plainError{explain(s, err), err}
}

type plainError struct {
	text  string
	cause error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.cause }

func openSide(ctx context.Context, s config.Datastore, dir string, make bool) (side, error) {
	if s.Kind == config.Etcd {
		return openEtcdSide(ctx, s)
	}
	return openTable(ctx, s, dir, make)
}

// copying is what has been read from the source so far.
type copying struct {
	revision, total int64
	sum             summary
	progress        func(done, total int64)
}

func (c *copying) begin(revision, bytes int64) error {
	c.revision, c.total, c.sum = revision, bytes, summary{}
	return nil
}

func (c *copying) count(r record) {
	c.sum.add(r)
	if c.progress != nil {
		c.progress(c.sum.bytes, c.total)
	}
}

// verify reads a side and compares it with what was read from the source.
func (c *copying) verify(ctx context.Context, to side) error {
	var got summary
	err := to.read(ctx, func(int64, int64) error { return nil }, func(r record) error { got.add(r); return nil })
	if err != nil {
		return fmt.Errorf("reading the copy: %w", err)
	}
	if got.keys != c.sum.keys || got.digest() != c.sum.digest() {
		return fmt.Errorf("the copy is not what was read: %d keys with digest %.12s, want %d with %.12s", got.keys, got.digest(), c.sum.keys, c.sum.digest())
	}
	return nil
}

// summary is the number and the digest of keys and values, in whatever order they come.
type summary struct {
	keys, bytes int64
	each        [][sha256.Size]byte
}

func (s *summary) add(r record) {
	h := sha256.New()
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(r.key)))
	h.Write(length[:])
	h.Write([]byte(r.key))
	h.Write(r.value)
	s.each = append(s.each, [sha256.Size]byte(h.Sum(nil)))
	s.keys++
	s.bytes += int64(len(r.value))
}

// digest is the SHA-256 of the sorted digests of the keys, each with its value.
func (s *summary) digest() string {
	slices.SortFunc(s.each, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, one := range s.each {
		h.Write(one[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
