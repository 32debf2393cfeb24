package payload

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	magic        = "AIRGAP-PAYLOAD-1"
	trailerBytes = 80
)

// Errors a caller decides on.
var (
	// ErrNoPayload says that a file does not end in a trailer: it is no packed executable,
	// or was cut short.
	ErrNoPayload = errors.New("no airgap payload at the end of the file (a bare launcher, or a copy cut short)")
	// ErrDamaged says that the file's bytes are not those that were packed.
	ErrDamaged = errors.New("damaged: its bytes are not the ones that were packed")
)

// trailer is the fixed end of a packed executable. See the package comment.
type trailer struct {
	offset, size int64             // of the payload, in bytes
	tarBytes     int64             // of the tar inside
	sum          [sha256.Size]byte // of everything before the trailer
}

func (t trailer) encode() []byte {
	b := make([]byte, 0, trailerBytes)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.size))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.tarBytes))
	b = binary.LittleEndian.AppendUint64(b, 0)
	return append(b, t.sum[:]...)
}

// parseTrailer reads the last bytes of a file of fileBytes.
func parseTrailer(b []byte, fileBytes int64) (trailer, error) {
	var t trailer
	if len(b) != trailerBytes || !bytes.HasPrefix(b, []byte(magic)) {
		return t, ErrNoPayload
	}
	t.offset = int64(binary.LittleEndian.Uint64(b[16:]))
	t.size = int64(binary.LittleEndian.Uint64(b[24:]))
	t.tarBytes = int64(binary.LittleEndian.Uint64(b[32:]))
	copy(t.sum[:], b[48:])
	payloadEnd := fileBytes - trailerBytes
	if t.offset < 0 || t.offset > payloadEnd || t.size != payloadEnd-t.offset || t.tarBytes < 0 ||
		!bytes.Equal(t.encode(), b) {
		return trailer{}, fmt.Errorf("%w: the trailer contradicts the file's size", ErrDamaged)
	}
	return t, nil
}

// Payload is an open packed executable.
type Payload struct {
	file *os.File
	trailer
}

// Open opens the packed executable at path and reads its trailer; nothing else of it is read
// or checked yet. The error wraps [ErrNoPayload] when the file is no packed executable.
func Open(path string) (*Payload, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t, err := readTrailer(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Payload{file: f, trailer: t}, nil
}

func readTrailer(f *os.File) (trailer, error) {
	info, err := f.Stat()
	if err != nil {
		return trailer{}, err
	}
	if !info.Mode().IsRegular() || info.Size() < trailerBytes {
		return trailer{}, ErrNoPayload
	}
	b := make([]byte, trailerBytes)
	if _, err := f.ReadAt(b, info.Size()-trailerBytes); err != nil {
		return trailer{}, err
	}
	return parseTrailer(b, info.Size())
}

// Close closes the file.
func (p *Payload) Close() error { return p.file.Close() }

// Digest is the SHA-256 of launcher and payload in hex: the name of the version's folder.
func (p *Payload) Digest() string { return hex.EncodeToString(p.sum[:]) }

// UnpackedBytes is about how much disk the unpacked tree takes.
func (p *Payload) UnpackedBytes() int64 { return p.tarBytes }

// FileBytes is the size of the whole executable.
func (p *Payload) FileBytes() int64 { return p.offset + p.size + trailerBytes }

// reader returns all that the digest covers.
func (p *Payload) reader() io.Reader { return io.NewSectionReader(p.file, 0, p.offset+p.size) }
