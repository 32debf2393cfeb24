package blobcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Bounds say what of a cache is to stay.
type Bounds struct {
	Bytes     int64     // at most this much; below 0 any amount
	UsedSince time.Time // nothing that was last used before; zero: any time
}

// Pruned is what a [Cache.Prune] has done.
type Pruned struct {
	Removed      int   `json:"removed"`      // blobs, and beginnings of blobs
	RemovedBytes int64 `json:"removedBytes"` // of them
	Left         int   `json:"left"`
	LeftBytes    int64 `json:"leftBytes"`
}

// kept is one file of the cache.
type kept struct {
	path    string
	size    int64
	used    time.Time
	partial bool
}

// Prune removes what is beyond the bounds, what was not used for the longest time first. What is being fetched stays.
func (c *Cache) Prune(b Bounds) (Pruned, error) {
	all, err := c.list()
	if err != nil {
		return Pruned{}, fmt.Errorf("cache: %w", err)
	}
	slices.SortFunc(all, func(a, b kept) int { return b.used.Compare(a.used) })
	var p Pruned
	for _, k := range all {
		if (b.Bytes < 0 || p.LeftBytes+k.size <= b.Bytes) && !k.used.Before(b.UsedSince) {
			p.Left, p.LeftBytes = p.Left+1, p.LeftBytes+k.size
			continue
		}
		switch err := k.remove(); {
		case errors.Is(err, errTaken):
			p.Left, p.LeftBytes = p.Left+1, p.LeftBytes+k.size
		case err != nil:
			return p, fmt.Errorf("cache: %w", err)
		default:
			p.Removed, p.RemovedBytes = p.Removed+1, p.RemovedBytes+k.size
		}
	}
	return p, nil
}

// list returns every file of the cache.
func (c *Cache) list() ([]kept, error) {
	var all []kept
	for _, folder := range []string{wholeFolder, partialFolder} {
		entries, err := os.ReadDir(filepath.Join(c.dir, folder))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed, or whole by now
			}
			if err != nil {
				return nil, err
			}
			all = append(all, kept{filepath.Join(c.dir, folder, entry.Name()), info.Size(), info.ModTime(), folder == partialFolder})
		}
	}
	return all, nil
}

func (k kept) remove() error {
	if k.partial {
		file, err := openPartial(k.path)
		if err != nil {
			return err
		}
		defer file.Close()
	}
	if err := os.Remove(k.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
