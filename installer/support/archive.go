package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"time"
)

// Bounds, in bytes before compression. A text file is compressed to about a tenth.
const (
	maxTotalBytes = 96 << 20
	maxFileBytes  = 8 << 20
)

// archive is the archive as it is being written. Each file is scrubbed, and bounded.
type archive struct {
	gzip  *gzip.Writer
	tar   *tar.Writer
	root  string // folder that all is in
	time  time.Time
	scrub *scrubber
	bytes int64    // written so far
	notes []string // what a reader should know of what is not there
}

func newArchive(w io.Writer, root string, now time.Time, s *scrubber) *archive {
	z := gzip.NewWriter(w)
	return &archive{gzip: z, tar: tar.NewWriter(z), root: root, time: now, scrub: s}
}

func (a *archive) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// add adds a text. The error is one of writing the archive.
func (a *archive) add(name string, text []byte) error {
	clean := a.scrub.scrub(text)
	if a.bytes+int64(len(clean)) > maxTotalBytes {
		a.note("%s: left out, since the archive would become too large", name)
		return nil
	}
	a.bytes += int64(len(clean))
	return a.write(name, clean)
}

func (a *archive) write(name string, data []byte) error {
	err := a.tar.WriteHeader(&tar.Header{Name: path.Join(a.root, name), Mode: 0o600, Size: int64(len(data)), ModTime: a.time, Format: tar.FormatPAX})
	if err != nil {
		return err
	}
	_, err = a.tar.Write(data)
	return err
}

// close writes the notes, and ends the archive.
func (a *archive) close() error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "Secrets were hidden in %d of these files; %q stands for each.\n\n", a.scrub.hidden, hidden)
	for _, note := range a.notes {
		fmt.Fprintln(&text, note)
	}
	if err := a.write("notes.txt", a.scrub.scrub(text.Bytes())); err != nil {
		return err
	}
	if err := a.tar.Close(); err != nil {
		return err
	}
	return a.gzip.Close()
}

// tail keeps the last bytes that are written to it, from the begin of a line on.
type tail struct {
	max int
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.max {
		t.trim()
	}
	return len(p), nil
}

func (t *tail) trim() {
	if len(t.buf) <= t.max {
		return
	}
	t.cut = true
	rest := t.buf[len(t.buf)-t.max:]
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[i+1:]
	}
	t.buf = append(t.buf[:0], rest...)
}

// bytes is what was kept.
func (t *tail) bytes() []byte {
	t.trim()
	return t.buf
}
