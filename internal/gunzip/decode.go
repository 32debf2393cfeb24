package gunzip

import (
	"encoding/binary"
	"fmt"
	"io"
)

// decode goes on with a coded block, at buffer[pos:], until the block or the buffer is at its end. Matches
// reach back to buffer[low] at most. It returns the new position.
//
// Each turn of the loop begins with 56 bits at least. That is enough for three literals of the first table (3 × 11),
// or, after another load, for a length and a distance: 15 + 5 + 15 + 13 = 48.
func (r *Reader) decode(buffer []byte, pos, low int) (int, error) {
	lengths, offsets := &r.codes.lengths, &r.codes.offsets
	bits, count := r.bits, r.count
	limit := len(buffer) - reserveBytes
	for {
		r.bits, r.count = bits, count
		if err := r.fill(16); err != nil {
			return pos, err
		}
		if r.overrun() {
			return pos, io.ErrUnexpectedEOF
		}
		input, at, safe := r.input, r.at, r.end-8
		if r.ended {
			safe = r.end + 8 // the padding, which nobody reaches without an overrun
		}
		for pos < limit && at <= safe {
			bits |= binary.LittleEndian.Uint64(input[at:]) << (count & 63)
			at += int((63 - count) / 8)
			count |= 56

			e := lengths[bits&(1<<lengthIndexBits-1)]
			if e&literal != 0 {
				bits >>= e & consumeMask
				count -= uint(e & consumeMask)
				buffer[pos] = byte(e >> valueShift)
				pos++
				e = lengths[bits&(1<<lengthIndexBits-1)]
				if e&literal != 0 {
					bits >>= e & consumeMask
					count -= uint(e & consumeMask)
					buffer[pos] = byte(e >> valueShift)
					pos++
					e = lengths[bits&(1<<lengthIndexBits-1)]
					if e&literal != 0 {
						bits >>= e & consumeMask
						count -= uint(e & consumeMask)
						buffer[pos] = byte(e >> valueShift)
						pos++
						continue
					}
				}
				if at > safe {
					continue // the entry is looked up again
				}
				bits |= binary.LittleEndian.Uint64(input[at:]) << (count & 63)
				at += int((63 - count) / 8)
				count |= 56
			}
			if e&exceptional != 0 {
				if e&pointer != 0 {
					bits >>= lengthIndexBits
					count -= lengthIndexBits
					index := e>>valueShift + uint32(bits)&(1<<(e>>codeShift&codeMask)-1)
					e = lengths[index%lengthTableEntries]
					if e&literal != 0 {
						bits >>= e & consumeMask
						count -= uint(e & consumeMask)
						buffer[pos] = byte(e >> valueShift)
						pos++
						continue
					}
				}
				if e&exceptional != 0 {
					r.bits, r.count, r.at = bits>>(e&consumeMask), count-uint(e&consumeMask), at
					if e == noCode {
						return pos, fmt.Errorf("%w: code of a length", ErrFormat)
					}
					if r.overrun() {
						return pos, io.ErrUnexpectedEOF
					}
					r.stage = blockHeader
					return pos, nil
				}
			}
			length := int(e>>valueShift) + int(uint32(bits)&(1<<(e&consumeMask)-1)>>(e>>codeShift&codeMask))
			bits >>= e & consumeMask
			count -= uint(e & consumeMask)

			e = offsets[bits&(1<<offsetIndexBits-1)]
			if e&exceptional != 0 {
				if e&pointer != 0 {
					bits >>= offsetIndexBits
					count -= offsetIndexBits
					index := e>>valueShift + uint32(bits)&(1<<(e>>codeShift&codeMask)-1)
					e = offsets[index%offsetTableEntries]
				}
				if e&exceptional != 0 {
					return pos, fmt.Errorf("%w: code of a distance", ErrFormat)
				}
			}
			offset := int(e>>valueShift) + int(uint32(bits)&(1<<(e&consumeMask)-1)>>(e>>codeShift&codeMask))
			bits >>= e & consumeMask
			count -= uint(e & consumeMask)

			from := pos - offset
			if from < low {
				return pos, fmt.Errorf("%w: distance beyond the beginning", ErrFormat)
			}
			end := pos + length
			switch {
			case offset >= 16 && length <= 64:
				for ; pos < end; pos, from = pos+16, from+16 {
					a := binary.LittleEndian.Uint64(buffer[from:])
					b := binary.LittleEndian.Uint64(buffer[from+8:])
					binary.LittleEndian.PutUint64(buffer[pos:], a)
					binary.LittleEndian.PutUint64(buffer[pos+8:], b)
				}
			case offset >= length:
				copy(buffer[pos:end], buffer[from:])
			case offset >= 8:
				for ; pos < end; pos, from = pos+8, from+8 {
					binary.LittleEndian.PutUint64(buffer[pos:], binary.LittleEndian.Uint64(buffer[from:]))
				}
			case length > 16: // of what repeats, each copy is twice as long as the one before
				for pos < end {
					pos += copy(buffer[pos:end], buffer[from:pos])
				}
			default:
				for ; pos < end; pos, from = pos+1, from+1 {
					buffer[pos] = buffer[from]
				}
			}
			pos = end
		}
		r.at = at
		if pos >= limit {
			r.bits, r.count = bits, count
			return pos, nil
		}
	}
}
