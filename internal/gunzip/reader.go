package gunzip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	// HistoryBytes is how far back a stream may refer (RFC 1951, section 2), and what the front of
	// a buffer is used for.
	HistoryBytes = 32 << 10
	// MinBufferBytes is the least that a buffer for [Reader.Next] may have.
	MinBufferBytes = HistoryBytes + 16<<10

	inputBytes = 256 << 10
	wordBytes  = 8 // of bits
	// paddingBytes of zeros stand behind the end of the input, so that eight bytes can be loaded anywhere.
	paddingBytes = 24
	// reserveBytes is how much room one step of the decoder needs: a few literals, the longest match, and
	// what copying by words writes beyond its end.
	reserveBytes = 4 + 258 + 16
)

var (
	// ErrFormat says that the input is not gzip, or that its compressed data is corrupt.
	ErrFormat = errors.New("gzip: invalid stream")
	// ErrChecksum says that a member does not contain what its trailer says.
	ErrChecksum = errors.New("gzip: checksum mismatch")
)

// stage is what comes next in the stream.
type stage int

const (
	memberHeader stage = iota
	blockHeader
	storedBlock
	codedBlock
	memberTrailer
)

// Reader decompresses one stream. It is used by one goroutine.
type Reader struct {
	source io.Reader
	input  []byte // input[at:end] is not yet in bits; zeros follow
	at     int
	end    int
	ended  bool   // source has no more
	bits   uint64 // what of the input is next, lowest bit first
	count  uint   // how many of bits are valid

	stage    stage
	first    bool // no member has begun
	last     bool // the block is the member's last
	stored   int  // bytes left of a stored block
	checksum uint32
	size     uint32 // of the member so far, modulo 2^32
	history  []byte // the last bytes of the member, at most HistoryBytes
	own      codes  // of the latest block that brought some
	codes    *codes // of the current block
	failure  error  // the stream has ended with it
}

// NewReader returns a reader of the gzip stream in source. It reads ahead.
func NewReader(source io.Reader) *Reader {
	return &Reader{
		source:  source,
		input:   make([]byte, inputBytes+paddingBytes),
		first:   true,
		history: make([]byte, 0, HistoryBytes),
	}
}

// Next decompresses more of the stream into buffer, and returns the part of buffer that it is in: some of it, if
// there is no error. At the end of the stream the error is [io.EOF]. The buffer has at least [MinBufferBytes]; its first
// [HistoryBytes] are overwritten as well.
func (r *Reader) Next(buffer []byte) ([]byte, error) {
	if r.failure != nil {
		return nil, r.failure
	}
	if len(buffer) < MinBufferBytes {
		return nil, fmt.Errorf("gzip: a buffer of %d bytes is too small", len(buffer))
	}
	begin := HistoryBytes
	copy(buffer[begin-len(r.history):], r.history)
	low, done, pos := begin-len(r.history), begin, begin // of the member; what its checksum knows; what is decoded
	var err error
	for err == nil && len(buffer)-pos > reserveBytes {
		switch r.stage {
		case memberHeader:
			err = r.header()
			low, done = pos, pos
		case blockHeader:
			err = r.block()
		case storedBlock:
			pos, err = r.copyStored(buffer, pos)
		case codedBlock:
			pos, err = r.decode(buffer, pos, low)
		case memberTrailer:
			r.sum(buffer[done:pos])
			done = pos
			err = r.trailer()
		}
	}
	r.sum(buffer[done:pos])
	r.history = append(r.history[:0], buffer[max(low, pos-HistoryBytes):pos]...)
	if err != nil {
		r.failure = err
		if err != io.EOF || pos == begin {
			return nil, err
		}
	}
	return buffer[begin:pos], nil
}

func (r *Reader) sum(data []byte) {
	r.checksum = crc32.Update(r.checksum, crc32.IEEETable, data)
	r.size += uint32(len(data))
}

// fill sees to it that n bytes of input, at most a few, are at hand or that the source has ended.
func (r *Reader) fill(n int) error {
	if r.end-r.at >= n || r.ended {
		return nil
	}
	kept := r.at - min(r.at, wordBytes) // what is in bits may be given back
	copy(r.input, r.input[kept:r.end])
	r.end -= kept
	r.at -= kept
	for idle := 0; r.end-r.at < n && !r.ended; idle++ {
		read, err := r.source.Read(r.input[r.end:inputBytes])
		r.end += read
		if read > 0 {
			idle = 0
		}
		switch {
		case err == io.EOF:
			r.ended = true
		case err != nil:
			return err
		case idle > 100:
			return io.ErrNoProgress
		}
	}
	clear(r.input[r.end : r.end+paddingBytes])
	return nil
}

// byteAligned gives the whole bytes in bits back to the input. It fails if bits were taken that the input does not have.
func (r *Reader) byteAligned() error {
	r.at -= int(r.count / 8)
	r.bits, r.count = 0, 0
	if r.at > r.end {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// take returns the next n bytes of input. bits must be empty. The bytes are valid until the next fill.
func (r *Reader) take(n int) ([]byte, error) {
	if err := r.fill(n); err != nil {
		return nil, err
	}
	if r.end-r.at < n {
		return nil, io.ErrUnexpectedEOF
	}
	data := r.input[r.at : r.at+n]
	r.at += n
	return data, nil
}

// Flags of a member's header: RFC 1952, section 2.3.1.
const (
	flagChecksum = 1 << 1
	flagExtra    = 1 << 2
	flagName     = 1 << 3
	flagComment  = 1 << 4
)

// header reads a member's header, or finds the end of the stream: [io.EOF].
func (r *Reader) header() error {
	if err := r.fill(1); err != nil {
		return err
	}
	if r.ended && r.at == r.end && !r.first {
		return io.EOF
	}
	checksum := uint32(0)
	get := func(n int) ([]byte, error) {
		data, err := r.take(n)
		checksum = crc32.Update(checksum, crc32.IEEETable, data)
		return data, err
	}
	head, err := get(10)
	if err != nil {
		return err
	}
	if head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 {
		return fmt.Errorf("%w: no gzip header", ErrFormat)
	}
	flags := head[3]
	if flags&flagExtra != 0 {
		size, err := get(2)
		if err != nil {
			return err
		}
		if _, err := get(int(binary.LittleEndian.Uint16(size))); err != nil {
			return err
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		for c := byte(1); flags&flag != 0 && c != 0; {
			data, err := get(1)
			if err != nil {
				return err
			}
			c = data[0]
		}
	}
	if flags&flagChecksum != 0 {
		want := checksum
		data, err := get(2)
		if err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(data) != uint16(want) {
			return fmt.Errorf("%w: header", ErrChecksum)
		}
	}
	r.first, r.checksum, r.size = false, 0, 0
	r.history = r.history[:0]
	r.stage = blockHeader
	return nil
}

// trailer compares the member with its trailer.
func (r *Reader) trailer() error {
	if err := r.byteAligned(); err != nil {
		return err
	}
	data, err := r.take(8)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(data) != r.checksum || binary.LittleEndian.Uint32(data[4:]) != r.size {
		return ErrChecksum
	}
	r.stage = memberHeader
	return nil
}
