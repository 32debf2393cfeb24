package bundle

import (
	"bufio"
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
	// begins is the offset of the present entry's contents, position that of the byte that is read next: in the tar, or in the
	// entry's own file where there is no tar.
	begins() int64
	position() int64
	// remedy is what to do about bytes that are not what was written.
	remedy() string
	io.Closer
}

// tarMedium reads a bundle from the bytes of its tar.
type tarMedium struct {
	stream *bufio.Reader
	source TarStream
	mtime  int64 // of every header; known from the first
	start  int64 // of the present entry's contents
	read   int64 // bytes of the tar that have been consumed

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
	err := t.peek(name)
	return t.name == name, err
}

// peek reads the next header unless that has been done. The block of zeros that ends the entries gives an empty name. wanted is
// the entry whose header it should be.
func (t *tarMedium) peek(wanted string) error {
	if t.peeked || t.ended {
		return nil
	}
	var block tarBlock
	if err := t.readFull(block[:], wanted); err != nil {
		return err
	}
	if t.ended = block == (tarBlock{}); t.ended {
		t.name = ""
		return nil
	}
	name, size, mtime, err := decodeHeader(&block)
	if err != nil {
		return refuse(RuleHeader, wanted, t.header(), t.remedy(), "where the header of %s must be: %v", wanted, err)
	}
	if t.mtime == -1 {
		t.mtime = mtime
	}
	if t.mtime != mtime {
		return refuse(RuleTime, name, t.header(), t.remedy(), "%q has another time than the entries before it", name)
	}
	t.peeked, t.name, t.size = true, name, size
	return nil
}

// header is the offset of the block that has been read just now.
func (t *tarMedium) header() int64 { return t.read - tarBlockBytes }

func (t *tarMedium) enter(name string) (int64, error) {
	found, err := t.at(name)
	switch {
	case err != nil:
		return 0, err
	case t.ended:
		return 0, refuse(RuleOrder, name, t.header(), t.remedy(), "%s is missing: the tar ends before it", name)
	case !found:
		return 0, refuse(RuleOrder, name, t.header(), t.remedy(), "%q stands where %s must be", t.name, name)
	}
	t.peeked, t.start = false, t.read
	return t.size, nil
}

func (t *tarMedium) next(read int) (int, error) { return read, nil }

// remedy is that for the entry which was entered last and what has been read after it.
func (t *tarMedium) remedy() string {
	return t.source.Remedy(max(0, t.start-tarBlockBytes), t.read+1)
}

func (t *tarMedium) begins() int64   { return t.start }
func (t *tarMedium) position() int64 { return t.read }

func (t *tarMedium) Read(p []byte) (int, error) {
	n, err := t.stream.Read(p)
	t.read += int64(n)
	return n, err
}

func (t *tarMedium) leave() error {
	var padding tarBlock
	at, n := t.read, paddedSize(t.size)-t.size
	if err := t.readFull(padding[:n], t.name); err != nil {
		return err
	}
	if padding != (tarBlock{}) {
		return refuse(RulePadding, t.name, at, t.remedy(), "the padding after %s is not zeros", t.name)
	}
	return nil
}

func (t *tarMedium) confirm(m *Manifest, _ []string) error {
	issued, err := parseIssuedAt(m.IssuedAt)
	if err != nil {
		return err
	}
	if issued.Unix() != t.mtime {
		return refuse(RuleTime, ManifestPath, 0, t.remedy(), "the times in the tar are not issuedAt, %s", m.IssuedAt)
	}
	length := t.read + tarTrailerBytes
	if t.peeked || t.ended {
		length -= tarBlockBytes
	}
	return t.source.Expect(length + tarBytes(m.Carried()))
}

// theEnd is what refusals call the end of the tar.
const theEnd = "the end"

func (t *tarMedium) end() error {
	if err := t.peek(theEnd); err != nil {
		return err
	}
	if !t.ended {
		return refuse(RuleEnd, t.name, t.header(), t.remedy(), "%q follows the last entry", t.name)
	}
	var second tarBlock
	if err := t.readFull(second[:], theEnd); err != nil {
		return err
	}
	if second != (tarBlock{}) {
		return refuse(RuleEnd, "", t.header(), t.remedy(), "data follows the end of the tar, in its second block")
	}
	switch _, err := t.stream.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return refuse(RuleEnd, "", t.read, t.remedy(), "data follows the end of the tar")
	default:
		return readError(err, theEnd, t.read, t.remedy())
	}
}

// readFull fills p with what belongs to entry.
func (t *tarMedium) readFull(p []byte, entry string) error {
	n, err := io.ReadFull(t.stream, p)
	t.read += int64(n)
	if err != nil {
		return readError(err, entry, t.read, t.remedy())
	}
	return nil
}

func (t *tarMedium) Close() error { return t.source.Close() }
