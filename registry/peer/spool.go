package peer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"

	"airgap/internal/site"
)

// state is how far a wanted blob is.
type state int

const (
	missing state = iota
	taking        // a goroutine has it, and its part
	spooled       // whole, in the spool
	held          // with the consumer
)

// wanted is one blob that was asked for.
type wanted struct {
	site.Blob
	state    state
	failures int                  // takes that came to nothing
	absent   map[string]time.Time // peers that do not have it, and when to ask them again

	// What has come of it. Only the goroutine that takes it looks at these.
	path    string // of the file
	opened  bool   // what an earlier run left has been read
	offset  int64
	hash    hash.Hash
	sources map[string]bool // who gave the bytes; "" is an earlier run
	whole   bool            // bytes of several sources were wrong: all from one next time
}

// open opens the file of the part for appending. A first time it reads what an earlier run left.
func (w *wanted) open() (*os.File, error) {
	file, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if !w.opened {
		w.opened = true
		err = w.recover(file)
	} else {
		_, err = file.Seek(w.offset, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// recover takes over what is in the file. Its bytes are as good as any other's: the digest will tell.
func (w *wanted) recover(file *os.File) error {
	w.hash, w.sources = sha256.New(), map[string]bool{}
	n, err := io.Copy(w.hash, io.LimitReader(file, w.Size))
	if err != nil {
		return err
	}
	if n == w.Size { // it was complete and yet has no final name: it was not verified, or it is wrong
		return w.restart(file)
	}
	w.offset = n
	if n > 0 {
		w.sources[""] = true
	}
	return nil
}

// restart throws away what has come.
func (w *wanted) restart(file *os.File) error {
	w.offset, w.hash, w.sources = 0, sha256.New(), map[string]bool{}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}

// verifySpooled tells whether a blob is at path. What is there and is not the blob is removed.
func verifySpooled(ctx context.Context, path string, b site.Blob) (bool, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("spool of blobs: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, b.Size+1))
	if err != nil {
		return false, fmt.Errorf("spool of blobs: %w", err)
	}
	if n == b.Size && key(sum.Sum(nil)).String() == b.Digest {
		return true, ctx.Err()
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("spool of blobs: %w", err)
	}
	return false, ctx.Err()
}
