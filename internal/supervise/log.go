package supervise

import (
	"os"
	"sync"
)

// MaxLogBytes is the size at which a log is renamed to its name with ".1", in place of
// what had that name. A node's two logs therefore take at most twice this.
const MaxLogBytes = 10 << 20

// Log is a log file of bounded size. It is safe for concurrent use.
type Log struct {
	path     string
	maxBytes int64

	mu   sync.Mutex
	file *os.File
	size int64 // bytes
}

// OpenLog opens the log at path, to append to it.
func OpenLog(path string) (*Log, error) {
	l := &Log{path: path, maxBytes: MaxLogBytes}
	return l, l.open()
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends p. It never fails: a full disk must not stop what writes to a log, so what
// cannot be written is dropped.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.maxBytes {
		l.rotate()
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
	return len(p), nil
}

// rotate starts a new file. When that is not possible the old one is emptied instead: the
// bound holds in any case.
func (l *Log) rotate() {
	old := l.file
	if os.Rename(l.path, l.path+".1") == nil && l.open() == nil {
		old.Close()
		return
	}
	_ = old.Truncate(0)
	l.size = 0
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
