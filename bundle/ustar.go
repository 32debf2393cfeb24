package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// tarBlockBytes is the unit of a tar: headers have one block, contents are padded to whole ones.
const tarBlockBytes = 512

// tarTrailerBytes is the end of a tar: two blocks of zeros.
const tarTrailerBytes = 2 * tarBlockBytes

// maxOctalSize is the largest size that the 11 octal digits of a ustar header can say.
const maxOctalSize = 1<<33 - 1

// tarBlock is a header.
type tarBlock [tarBlockBytes]byte

// Fields of a ustar header: POSIX.1-2017, pax, "ustar Interchange Format".
const (
	nameEnd     = 100
	sizeStart   = 124
	sizeEnd     = 136
	mtimeStart  = 136
	mtimeEnd    = 148
	sumStart    = 148
	sumEnd      = 156
	typeflagAt  = 156
	magicStart  = 257
	deviceStart = 329
)

// encodeHeader returns the only header that an entry can have. The name must be shorter than 100
// bytes and not empty, size and mtime (seconds since 1970) not negative, and mtime below 8^11.
func encodeHeader(name string, size, mtime int64) tarBlock {
	var b tarBlock
	copy(b[:nameEnd], name)
	copy(b[nameEnd:], "0000644\x00"+"0000000\x00"+"0000000\x00")
	if size <= maxOctalSize {
		copy(b[sizeStart:sizeEnd], fmt.Sprintf("%011o\x00", size))
	} else { // base-256, as GNU tar and Go write it
		binary.BigEndian.PutUint64(b[sizeEnd-8:sizeEnd], uint64(size))
		b[sizeStart] |= 0x80
	}
	copy(b[mtimeStart:mtimeEnd], fmt.Sprintf("%011o\x00", mtime))
	b[typeflagAt] = '0'
	copy(b[magicStart:], "ustar\x0000")
	copy(b[deviceStart:], "0000000\x00"+"0000000\x00")
	copy(b[sumStart:sumEnd], fmt.Sprintf("%06o\x00 ", b.sum()))
	return b
}

// sum is the header's checksum: that of its bytes, those of the checksum taken as spaces.
func (b *tarBlock) sum() int {
	sum := (sumEnd - sumStart) * int(' ')
	for i, c := range b {
		if i < sumStart || i >= sumEnd {
			sum += int(c)
		}
	}
	return sum
}

// decodeHeader reads a header that encodeHeader can have written and nothing else: what it returns,
// encoded again, is the same block.
func decodeHeader(b *tarBlock) (name string, size, mtime int64, err error) {
	name = string(bytes.TrimRight(b[:nameEnd], "\x00"))
	if b[sizeStart] == 0x80 {
		size = int64(binary.BigEndian.Uint64(b[sizeEnd-8 : sizeEnd]))
	} else if size, err = parseOctal(b[sizeStart:sizeEnd]); err != nil {
		return "", 0, 0, b.diagnose()
	}
	if mtime, err = parseOctal(b[mtimeStart:mtimeEnd]); err != nil || name == "" || size < 0 {
		return "", 0, 0, b.diagnose()
	}
	if encodeHeader(name, size, mtime) != *b {
		return "", 0, 0, b.diagnose()
	}
	return name, size, mtime, nil
}

// parseOctal reads 11 octal digits and a zero byte.
func parseOctal(field []byte) (int64, error) {
	n, err := strconv.ParseUint(string(field[:len(field)-1]), 8, 63)
	return int64(n), err
}

// diagnose says why b is not a header of a bundle, as well as that can be told.
func (b *tarBlock) diagnose() error {
	stated, err := strconv.ParseUint(string(bytes.Trim(b[sumStart:sumEnd], " \x00")), 8, 32)
	if err != nil || int(stated) != b.sum() {
		return errors.New("the tar header is damaged")
	}
	if kind, ok := foreignTypes[b[typeflagAt]]; ok {
		return fmt.Errorf("the tar header is that of %s; a bundle holds regular files only", kind)
	}
	return errors.New("the tar header is not one that this format has; the tar was made by another program")
}

// foreignTypes are the type flags of tar that a bundle never has.
var foreignTypes = map[byte]string{
	'1': "a hard link", '2': "a symbolic link", '3': "a character device", '4': "a block device", '5': "a folder", '6': "a FIFO", '7': "a contiguous file",
	'x': "a PAX record", 'g': "a global PAX record", 'S': "a GNU sparse file", 'L': "a GNU long name", 'K': "a GNU long link", 'M': "a GNU multi-volume part", 'V': "a GNU volume name",
}

// entryBytes is what an entry with size bytes of contents takes in a tar.
func entryBytes(size int64) int64 { return tarBlockBytes + paddedSize(size) }

// paddedSize is the space that size bytes of contents take in a tar.
func paddedSize(size int64) int64 {
	return (size + tarBlockBytes - 1) / tarBlockBytes * tarBlockBytes
}
