package blobcache

import (
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// errTaken says that the beginning of a blob is another's.
var errTaken = errors.New("another process is fetching it")

// openPartial opens and locks the beginning of a blob, which may be empty.
func openPartial(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, errTaken
	}
	opened, err1 := file.Stat()
	named, err2 := os.Stat(path)
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(opened, named) { // became whole, or was pruned, before it was locked
		file.Close()
		return nil, errTaken
	}
	return file, nil
}

// filling reads a blob whose beginning is in the cache and keeps the rest while it comes from its source.
type filling struct {
	ctx   context.Context
	fetch Fetch
	file  *os.File // the beginning, locked; nil when nothing is kept any longer
	want  string   // hex
	whole string   // path that the blob gets when it is there
	hash  hash.Hash
	body  io.ReadCloser // from the source; nil before it is needed
	have  int64         // bytes of the beginning that were here
	at    int64         // bytes handed out
}

func (f *filling) Read(p []byte) (int, error) {
	if f.at < f.have {
		n, err := f.file.ReadAt(p[:min(int64(len(p)), f.have-f.at)], f.at)
		if n > 0 {
			err = nil
		}
		f.took(p[:n])
		return n, err
	}
	if f.body == nil {
		var err error
		if f.body, err = f.fetch(f.ctx, f.at); err != nil {
			return 0, err
		}
	}
	n, err := f.body.Read(p)
	if f.file != nil && n > 0 {
		if _, err := f.file.WriteAt(p[:n], f.at); err != nil {
			f.drop()
		}
	}
	f.took(p[:n])
	if err == io.EOF {
		f.finish()
	}
	return n, err
}

func (f *filling) took(p []byte) {
	f.hash.Write(p)
	f.at += int64(len(p))
}

// finish gives the blob its name, or removes what has turned out to be another.
func (f *filling) finish() {
	if f.file == nil {
		return
	}
	if hex.EncodeToString(f.hash.Sum(nil)) != f.want || os.Rename(f.file.Name(), f.whole) != nil {
		f.drop()
		return
	}
	f.file.Close()
	f.file = nil
}

// drop keeps nothing of the blob.
func (f *filling) drop() {
	os.Remove(f.file.Name())
	f.file.Close()
	f.file = nil
}

// Close ends the fetch. What came of a blob that is not whole stays for the next time.
func (f *filling) Close() error {
	var err error
	if f.body != nil {
		err = f.body.Close()
	}
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
	return err
}
