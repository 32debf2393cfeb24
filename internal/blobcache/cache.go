// Package blobcache keeps blobs by their SHA-256 in a folder, so that what was fetched once is not fetched again, and a fetch that
// broke off goes on where it was.
//
//	CACHEDIR.TAG         tells backup programs that the folder is a cache (bford.info/cachedir)
//	sha256/<hex>         a whole blob; the time of its last change is when it was last used
//	partial/<hex>        the beginning of one that is being fetched, or whose fetch broke off
//
// # Invariants
//
//   - A blob is hashed before it is handed out: one that rotted is removed and fetched again.
//   - A blob gets its name under sha256 only after its bytes were hashed on their way in. Nothing is synced: what a power
//     cut left of a blob does not pass the first rule.
//   - Several processes may share a folder. Whoever writes to, or removes, the beginning of a blob holds a lock on it.
//   - A cache that cannot be written to, or has no room, slows a fetch down and does not fail it.
package blobcache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	wholeFolder   = "sha256"
	partialFolder = "partial"
	tagFile       = "CACHEDIR.TAG"
	tag           = "Signature: 8a477f597d28d172789f06886806bc55\n# Blobs that airgap has fetched; it fetches again what is removed.\n"

	// hashBytes is the unit in which a blob is read to be hashed.
	hashBytes = 256 << 10
)

// Cache is a folder of blobs. Its methods may be used by several goroutines.
type Cache struct{ dir string }

// Open makes the folder dir, if it is not there, a cache. A folder that has other things in it is refused.
func Open(dir string) (*Cache, error) {
	c := &Cache{dir}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, tagFile)); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("cache: %s has files that are no cache's; choose an empty folder, or one that is not there", dir)
	}
	for _, folder := range []string{wholeFolder, partialFolder} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, tagFile), []byte(tag), 0o644); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return c, nil
}

// Fetch opens a blob at its source, from a byte on.
type Fetch func(ctx context.Context, offset int64) (io.ReadCloser, error)

// Blob opens the blob of a digest ("sha256:<hex>") and size in bytes: from the cache as far as it is there, and from its source
// from there on. What comes from the source stays in the cache. A size below 0 is not known.
func (c *Cache) Blob(ctx context.Context, digest string, size int64, fetch Fetch) (io.ReadCloser, error) {
	name, err := hexOf(digest)
	if err != nil {
		return nil, err
	}
	if file := c.whole(name); file != nil {
		return file, nil
	}
	partial, err := openPartial(filepath.Join(c.dir, partialFolder, name))
	if err != nil {
		return fetch(ctx, 0) // somebody else is fetching it, or the folder cannot be written to
	}
	f := &filling{ctx: ctx, fetch: fetch, file: partial, want: name, whole: filepath.Join(c.dir, wholeFolder, name), hash: sha256.New()}
	if f.have, err = partial.Seek(0, io.SeekEnd); err == nil && size >= 0 && f.have > size {
		f.have, err = 0, partial.Truncate(0)
	}
	if err != nil {
		partial.Close()
		return fetch(ctx, 0)
	}
	return f, nil
}

// Bytes returns a blob that is whole in the cache; nil if it is not. It is for small ones.
func (c *Cache) Bytes(digest string) []byte {
	name, err := hexOf(digest)
	if err != nil {
		return nil
	}
	file := c.whole(name)
	if file == nil {
		return nil
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return nil
	}
	return data
}

// whole opens a blob that is in the cache and is what its name says; nil if there is none.
func (c *Cache) whole(name string) *os.File {
	path := filepath.Join(c.dir, wholeFolder, name)
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	hash := sha256.New()
	_, err = io.CopyBuffer(hash, struct{ io.Reader }{file}, make([]byte, hashBytes))
	if err == nil && hex.EncodeToString(hash.Sum(nil)) != name {
		_ = os.Remove(path) // a cache of somebody else's is left as it is
		file.Close()
		return nil
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // a cache of somebody else's is used all the same
	return file
}

// hexOf returns the hex digits of a digest.
func hexOf(digest string) (string, error) {
	name, found := strings.CutPrefix(digest, "sha256:")
	if raw, err := hex.DecodeString(name); !found || err != nil || len(raw) != sha256.Size || name != strings.ToLower(name) {
		return "", fmt.Errorf("cache: %.80q is not a SHA-256 digest", digest)
	}
	return name, nil
}
