package gunzip

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// need loads bits until there are n of them, at most 56. Those beyond the end of the input are zeros; whoever finishes a block
// finds out, see [Reader.overrun].
func (r *Reader) need(n uint) error {
	if r.count >= n {
		return nil
	}
	if err := r.fill(8); err != nil {
		return err
	}
	if r.overrun() {
		return io.ErrUnexpectedEOF
	}
	r.bits |= binary.LittleEndian.Uint64(r.input[r.at:]) << (r.count & 63)
	r.at += int((63 - r.count) / 8)
	r.count |= 56
	return nil
}

// overrun tells whether bits were consumed that the input does not have.
func (r *Reader) overrun() bool { return r.at-int(r.count/8) > r.end }

func (r *Reader) drop(n uint) {
	r.bits >>= n & 63
	r.count -= n
}

// get returns the next n bits, which must be there.
func (r *Reader) get(n uint) int {
	value := int(r.bits & (1<<n - 1))
	r.drop(n)
	return value
}

// block reads a block's header, and makes the tables for it.
func (r *Reader) block() error {
	if r.last {
		r.last, r.stage = false, memberTrailer
		return nil
	}
	if err := r.need(3); err != nil {
		return err
	}
	r.last = r.get(1) == 1
	switch kind := r.get(2); kind {
	case 0:
		if err := r.byteAligned(); err != nil {
			return err
		}
		data, err := r.take(4)
		if err != nil {
			return err
		}
		size, inverse := binary.LittleEndian.Uint16(data), binary.LittleEndian.Uint16(data[2:])
		if size != ^inverse {
			return fmt.Errorf("%w: length of a stored block", ErrFormat)
		}
		r.stored, r.stage = int(size), storedBlock
	case 1:
		r.codes, r.stage = fixedCodes(), codedBlock
	case 2:
		if err := r.readCodes(); err != nil {
			return err
		}
		r.codes, r.stage = &r.own, codedBlock
	default:
		return fmt.Errorf("%w: kind of block", ErrFormat)
	}
	if r.overrun() {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// fixedCodes are those of RFC 1951, section 3.2.6.
var fixedCodes = sync.OnceValue(func() *codes {
	var c codes
	for symbol := range 288 {
		switch {
		case symbol < 144:
			c.bits[symbol] = 8
		case symbol < 256:
			c.bits[symbol] = 9
		case symbol < 280:
			c.bits[symbol] = 7
		default:
			c.bits[symbol] = 8
		}
	}
	build(c.lengths[:], lengthIndexBits, c.bits[:288], lengthValues[:])
	for symbol := range 32 {
		c.bits[symbol] = 5
	}
	build(c.offsets[:], offsetIndexBits, c.bits[:32], offsetValues[:])
	return &c
})

// preOrder is the order in which the lengths of the code of code lengths come: RFC 1951, section 3.2.7.
var preOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes reads a block's own codes.
func (r *Reader) readCodes() error {
	if err := r.need(14); err != nil {
		return err
	}
	lengths := r.get(5) + 257
	offsets := r.get(5) + 1
	pre := r.get(4) + 4
	if lengths > maxLengthCodes || offsets > maxOffsetCodes {
		return fmt.Errorf("%w: number of codes", ErrFormat)
	}
	c := &r.own
	var preBits [19]uint8
	for n := range pre {
		if err := r.need(3); err != nil {
			return err
		}
		preBits[preOrder[n]] = uint8(r.get(3))
	}
	if !build(c.pre[:], preIndexBits, preBits[:], preValues[:]) {
		return fmt.Errorf("%w: code of code lengths", ErrFormat)
	}
	all := lengths + offsets
	for n := 0; n < all; {
		if err := r.need(7 + 7); err != nil {
			return err
		}
		e := c.pre[r.bits&(1<<preIndexBits-1)]
		if e == noCode {
			return fmt.Errorf("%w: code length", ErrFormat)
		}
		r.drop(uint(e & consumeMask))
		value, repeat := uint8(e>>valueShift), 1
		switch value {
		case 16:
			if n == 0 {
				return fmt.Errorf("%w: nothing to repeat", ErrFormat)
			}
			value, repeat = c.bits[n-1], 3+r.get(2)
		case 17:
			value, repeat = 0, 3+r.get(3)
		case 18:
			value, repeat = 0, 11+r.get(7)
		}
		if n+repeat > all {
			return fmt.Errorf("%w: too many code lengths", ErrFormat)
		}
		for range repeat {
			c.bits[n] = value
			n++
		}
	}
	if !build(c.lengths[:], lengthIndexBits, c.bits[:lengths], lengthValues[:]) ||
		!build(c.offsets[:], offsetIndexBits, c.bits[lengths:all], offsetValues[:]) {
		return fmt.Errorf("%w: set of codes", ErrFormat)
	}
	return nil
}

// copyStored copies what fits of a stored block.
func (r *Reader) copyStored(buffer []byte, pos int) (int, error) {
	if r.stored == 0 {
		r.stage = blockHeader
		return pos, nil
	}
	if err := r.fill(1); err != nil {
		return pos, err
	}
	if r.at == r.end {
		return pos, io.ErrUnexpectedEOF
	}
	n := copy(buffer[pos:], r.input[r.at:min(r.end, r.at+r.stored)])
	r.at += n
	r.stored -= n
	return pos + n, nil
}
