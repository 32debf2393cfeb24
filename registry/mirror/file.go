package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// File is a registries.yaml, read again when it has changed: pulls follow it at once, without a
// restart of the node. A changed file with mistakes is reported, and the last good one stays in force.
type File struct {
	path   string
	must   bool
	report func(error)

	mu      sync.Mutex
	seen    fs.FileInfo // of the last reading; nil: it was not there
	current *Registries
}

// Open reads the file. One that is not there says nothing, unless must is set. The error lists every mistake,
// each with its line. report is told of mistakes in later versions.
func Open(path string, must bool, report func(error)) (*File, error) {
	f := &File{path: path, must: must, report: report}
	var err error
	f.current, err = f.read()
	return f, err
}

// Registries returns what the file says now.
func (f *File) Registries() *Registries {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) && f.seen == nil || err == nil && f.seen != nil &&
		os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return f.current
	}
	changed, err := f.read()
	if err != nil {
		f.report(fmt.Errorf("the changed file is not used: %w", err))
		return f.current
	}
	f.current = changed
	return f.current
}

func (f *File) read() (*Registries, error) {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) && !f.must {
		f.seen = nil
		return &Registries{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("private-registry: %w", err)
	}
	f.seen = info
	data, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("private-registry: %w", err)
	}
	return Parse(f.path, data)
}
