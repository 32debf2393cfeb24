package bundle

import (
	"bytes"
	"io"
	"math"
)

// sectioned is a medium that can be read at several places at once.
type sectioned interface {
	medium
	// sections is called when all metadata has been read and returns how to read the entries after it: open gives a
	// medium which has entries[first:after], and after the last of them the end. Every byte is in one section alone, and
	// none that has been read already is read again. open is nil if this one has but one place to read at.
	sections(entries []Entry) (open func(first, after int) (medium, error))
}

// sections implements [sectioned] for the tar of a [WholeTar].
func (t *tarMedium) sections(entries []Entry) func(first, after int) (medium, error) {
	source, ok := t.source.(WholeTar)
	if !ok || t.peeked || t.ended {
		return nil
	}
	whole := source.Whole()
	if whole == nil {
		return nil
	}
	ahead, _ := t.stream.Peek(t.stream.Buffered())
	at := aheadReader{whole, t.read, bytes.Clone(ahead)}
	starts := make([]int64, len(entries)+1)
	starts[0] = t.read
	for i, e := range entries {
		starts[i+1] = starts[i] + entryBytes(e.Size)
	}
	return func(first, after int) (medium, error) {
		length := starts[after] - starts[first]
		if after == len(entries) {
			length = math.MaxInt64 - starts[first] // what follows the last entry is to be looked at as well
		}
		section := newTarMedium(tarSection{io.NewSectionReader(at, starts[first], length), t.source})
		section.mtime, section.read = t.mtime, starts[first]
		return section, nil
	}
}

// tarSection is a part of a tar. The whole is closed by who opened it.
type tarSection struct {
	io.Reader
	whole TarStream
}

func (tarSection) Expect(int64) error                 { return nil }
func (s tarSection) Remedy(first, after int64) string { return s.whole.Remedy(first, after) }
func (tarSection) Close() error                       { return nil }

// aheadReader is a tar of which data, at offset, has been read already.
type aheadReader struct {
	io.ReaderAt
	offset int64
	data   []byte
}

func (a aheadReader) ReadAt(p []byte, offset int64) (n int, err error) {
	if from := offset - a.offset; from >= 0 && from < int64(len(a.data)) {
		if n = copy(p, a.data[from:]); n == len(p) {
			return n, nil
		}
	}
	more, err := a.ReaderAt.ReadAt(p[n:], offset+int64(n))
	return n + more, err
}

// sections implements [sectioned]: the files of a folder are apart from each other.
func (d *folderMedium) sections([]Entry) func(first, after int) (medium, error) {
	return func(int, int) (medium, error) {
		root, err := d.root.OpenRoot(".")
		if err != nil {
			return nil, readError(err, ".", 0, recopy)
		}
		return &folderMedium{root: root}, nil
	}
}
