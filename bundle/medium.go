package bundle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// recopy is the remedy for a bundle that is not what was written.
const recopy = "copy the bundle again, or try another stick"

// medium is where a bundle is read from: a tar, a folder, or other machines. It moves forward only.
type medium interface {
	// next returns which entry comes after read others, once all metadata has come: its index among the manifest's
	// entries. A medium that keeps to the format's order returns read.
	next(read int) (int, error)
	// at reports whether the next entry is called name.
	at(name string) (bool, error)
	// enter moves to the next entry, which must be called name, and returns its size in bytes.
	enter(name string) (int64, error)
	// Read reads the entry's contents. The caller asks for no more than its size.
	io.Reader
	// leave checks that the entry, read to its size, ends there.
	leave() error
	// confirm checks what can be checked once the manifest is trusted. names are all entries, in order.
	confirm(m *Manifest, names []string) error
	// end checks that nothing follows the last entry.
	end() error
	// remedy is what to do about bytes that are not what was written.
	remedy() string
	io.Closer
}

// tarMedium reads a bundle from the bytes of its tar.
type tarMedium struct {
	stream *bufio.Reader
	source TarStream
	mtime  int64 // of every header; known from the first
	passed int64 // bytes of the tar up to the end of the entry that was entered last

	peeked bool // the next header has been read: name and size are its
	name   string
	size   int64 // of the next entry, or of the present one

	ended bool // the next block is one of zeros
}

// headerBufferBytes is read at once where headers and small entries stand; longer reads go past the buffer.
const headerBufferBytes = 16 << 10

func newTarMedium(source TarStream) *tarMedium {
	return &tarMedium{stream: bufio.NewReaderSize(source, headerBufferBytes), source: source, mtime: -1}
}

func (t *tarMedium) at(name string) (bool, error) {
	err := t.peek()
	return t.name == name, err
}

// peek reads the next header unless that has been done. The block of zeros that ends the entries gives an empty name.
func (t *tarMedium) peek() error {
	if t.peeked || t.ended {
		return nil
	}
	var block tarBlock
	if err := t.readFull(block[:]); err != nil {
		return err
	}
	if t.ended = block == (tarBlock{}); t.ended {
		t.name = ""
		return nil
	}
	name, size, mtime, err := decodeHeader(&block)
	if err != nil {
		return fmt.Errorf("%w: %v; %s", ErrFormat, err, t.remedy())
	}
	if t.mtime == -1 {
		t.mtime = mtime
	}
	if t.mtime != mtime {
		return fmt.Errorf("%w: %q has another time than the entries before it; %s", ErrFormat, name, t.remedy())
	}
	t.peeked, t.name, t.size = true, name, size
	return nil
}

func (t *tarMedium) enter(name string) (int64, error) {
	found, err := t.at(name)
	switch {
	case err != nil:
		return 0, fmt.Errorf("before %s: %w", name, err)
	case t.ended:
		return 0, fmt.Errorf("%w: %s is missing: the tar ends before it; %s", ErrFormat, name, t.remedy())
	case !found:
		return 0, fmt.Errorf("%w: %q stands where %s must be; %s", ErrFormat, t.name, name, t.remedy())
	}
	t.peeked = false
	t.passed += tarBlockBytes + paddedSize(t.size)
	return t.size, nil
}

func (t *tarMedium) next(read int) (int, error) { return read, nil }
func (t *tarMedium) remedy() string             { return t.source.Remedy() }

func (t *tarMedium) Read(p []byte) (int, error) { return t.stream.Read(p) }

func (t *tarMedium) leave() error {
	var padding tarBlock
	n := paddedSize(t.size) - t.size
	if err := t.readFull(padding[:n]); err != nil {
		return err
	}
	if padding != (tarBlock{}) {
		return fmt.Errorf("%w: the padding after %s is not zeros; %s", ErrFormat, t.name, t.remedy())
	}
	return nil
}

func (t *tarMedium) confirm(m *Manifest, _ []string) error {
	issued, err := parseIssuedAt(m.IssuedAt)
	if err != nil {
		return err
	}
	if issued.Unix() != t.mtime {
		return fmt.Errorf("%w: the times in the tar are not issuedAt, %s; %s", ErrFormat, m.IssuedAt, t.remedy())
	}
	length := t.passed + 2*tarBlockBytes
	for _, e := range m.Entries {
		length += tarBlockBytes + paddedSize(e.Size)
	}
	return t.source.Expect(length)
}

func (t *tarMedium) end() error {
	if err := t.peek(); err != nil {
		return fmt.Errorf("after the last entry: %w", err)
	}
	if !t.ended {
		return fmt.Errorf("%w: %q follows the last entry; %s", ErrFormat, t.name, t.remedy())
	}
	var second tarBlock
	if err := t.readFull(second[:]); err != nil {
		return fmt.Errorf("after the last entry: %w", err)
	}
	_, err := t.stream.ReadByte()
	if second != (tarBlock{}) || err == nil {
		return fmt.Errorf("%w: data follows the end of the tar; %s", ErrFormat, t.remedy())
	}
	if err != io.EOF {
		return readError(err, t.remedy())
	}
	return nil
}

func (t *tarMedium) readFull(p []byte) error {
	if _, err := io.ReadFull(t.stream, p); err != nil {
		return readError(err, t.remedy())
	}
	return nil
}

func (t *tarMedium) Close() error {
	return t.source.Close()
}

// mediumError says what a failed read of a stick means, readError what one of any medium means. The end of the stream
// within a bundle is an [ErrTruncated].
func mediumError(err error) error { return readError(err, recopy) }

func readError(err error, remedy string) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early; %s", ErrTruncated, remedy)
	}
	return fmt.Errorf("read bundle: %w; %s", err, remedy)
}
