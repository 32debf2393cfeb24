// Package compression tells how a file is compressed by its first bytes. What a media type or a name says of a layer is not asked:
// containerd does not either, and the one who unpacks is right.
package compression

import "encoding/binary"

// Format is how something is compressed.
type Format int

// The formats that image layers have.
const (
	None Format = iota // or one that is not known
	Gzip               // RFC 1952
	Zstd               // RFC 8878
)

// HeadBytes is how many bytes from the start [Of] wants to see. A shorter file is seen whole.
const HeadBytes = 8

// Of tells a file's format by its first bytes.
//
// A zstd stream may begin with a skippable frame (RFC 8878, section 3.1.2), which has sixteen marks and its length after it.
// The marks alone could be the start of a tar.
func Of(head []byte) Format {
	switch {
	case len(head) >= 3 && head[0] == 0x1f && head[1] == 0x8b && head[2] == 8: // 8: deflate
		return Gzip
	case len(head) < 4:
		return None
	}
	switch mark := binary.LittleEndian.Uint32(head); {
	case mark == zstdFrame, mark&^0xf == skippableFrame && len(head) >= HeadBytes:
		return Zstd
	}
	return None
}

const (
	zstdFrame      = 0xfd2fb528
	skippableFrame = 0x184d2a50 // to …5f
)
