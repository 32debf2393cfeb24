package gunzip

import "math/bits"

// An entry of a table says what a code stands for:
//
//	bits 0-4    how many bits to consume: those of the code, and those that follow it
//	bits 8-11   how many of them are the code's; in a pointer to a second table, the bits that index it
//	bit  13     the entry points to a second table, for codes longer than the first one's index
//	bit  14     a literal
//	bit  15     not a plain value: the end of the block, a pointer, or no code at all
//	bits 16-31  the literal, the length's or distance's base, or where the second table begins
type entry = uint32

const (
	consumeMask = 31
	codeShift   = 8
	codeMask    = 15
	pointer     = 1 << 13
	literal     = 1 << 14
	exceptional = 1 << 15
	valueShift  = 16

	// noCode is the entry of bits that are no code: it consumes nothing.
	noCode = exceptional

	maxCodeBits     = 15
	lengthIndexBits = 11
	offsetIndexBits = 8
	preIndexBits    = 7

	// All second tables of 288 codes behind a first one of 2^11, and of 32 behind 2^8, take fewer
	// than 2^11 and 2^8 entries: zlib's examples/enough.c computes 2342 and 402 in all.
	lengthTableEntries = 1 << 12
	offsetTableEntries = 1 << 9

	maxLengthCodes = 286
	maxOffsetCodes = 30
	endOfBlock     = 256
)

// codes are the tables of the current block.
type codes struct {
	lengths [lengthTableEntries]entry // literals and lengths
	offsets [offsetTableEntries]entry
	pre     [1 << preIndexBits]entry
	bits    [maxLengthCodes + 2 + maxOffsetCodes + 2]uint8 // code lengths, as they are read
}

// Length and distance symbols: RFC 1951, section 3.2.5. lengthValues[n] is what symbol n of the literal and length alphabet stands
// for, but for the bits of its code.
var (
	lengthValues = makeLengthValues()
	offsetValues = makeOffsetValues()
	preValues    = makePreValues()
)

func makeLengthValues() (values [maxLengthCodes + 2]entry) {
	for symbol := range endOfBlock {
		values[symbol] = literal | uint32(symbol)<<valueShift
	}
	values[endOfBlock] = exceptional | 1<<valueShift // not noCode
	base := uint32(3)
	for n := range 28 {
		extra := uint32(max(0, n/4-1))
		values[endOfBlock+1+n] = base<<valueShift | extra
		base += 1 << extra
	}
	values[endOfBlock+29] = 258 << valueShift
	// The fixed code has two symbols more, which must not occur.
	values[286], values[287] = noCode, noCode
	return values
}

func makeOffsetValues() (values [maxOffsetCodes + 2]entry) {
	base := uint32(1)
	for symbol := range maxOffsetCodes {
		extra := uint32(max(0, symbol/2-1))
		values[symbol] = base<<valueShift | extra
		base += 1 << extra
	}
	values[30], values[31] = noCode, noCode
	return values
}

func makePreValues() (values [19]entry) {
	for symbol := range values {
		values[symbol] = uint32(symbol) << valueShift
	}
	return values
}

// build fills table, whose first part has 1<<indexBits entries, with the canonical code (RFC 1951, section 3.2.2) in which
// symbol n has lengths[n] bits, none if 0. It tells whether the code is one that a decoder must take:
// neither over-subscribed nor, but for a single code of one bit or none at all, incomplete.
func build(table []entry, indexBits uint, lengths []uint8, values []entry) bool {
	var count [maxCodeBits + 1]int
	for _, length := range lengths {
		count[length]++
	}
	symbols := len(lengths) - count[0]
	count[0] = 0
	var next [maxCodeBits + 1]uint32
	code, space := uint32(0), 1<<maxCodeBits
	for length := 1; length <= maxCodeBits; length++ {
		code = (code + uint32(count[length-1])) << 1
		next[length] = code
		space -= count[length] << (maxCodeBits - length)
	}
	if space != 0 && (symbols > 1 || symbols == 1 && count[1] != 1) {
		return false
	}
	first := table[:1<<indexBits]
	if space != 0 {
		for n := range first {
			first[n] = noCode
		}
	}
	// How many bits beyond indexBits the longest code has that begins like this.
	var longest [1 << lengthIndexBits]uint8
	var reversed [maxLengthCodes + 2]uint16
	long := false
	for symbol, length := range lengths {
		if length == 0 {
			continue
		}
		code := bits.Reverse16(uint16(next[length])) >> (16 - length)
		next[length]++
		reversed[symbol] = code
		if uint(length) > indexBits {
			long = true
			prefix := code & (1<<indexBits - 1)
			longest[prefix] = max(longest[prefix], length-uint8(indexBits))
			continue
		}
		value := plus(values[symbol], uint32(length))
		for at := int(code); at < len(first); at += 1 << length {
			first[at] = value
		}
	}
	if !long {
		return true
	}
	free := uint32(len(first))
	for prefix, wide := range longest[:len(first)] {
		if wide > 0 {
			first[prefix] = exceptional | pointer | uint32(indexBits) | uint32(wide)<<codeShift | free<<valueShift
			free += 1 << wide
		}
	}
	for symbol, length := range lengths {
		if uint(length) <= indexBits {
			continue
		}
		to := first[reversed[symbol]&(1<<indexBits-1)]
		begin, size := to>>valueShift, uint32(1)<<(to>>codeShift&codeMask)
		beyond := uint32(length) - uint32(indexBits)
		value := plus(values[symbol], beyond)
		for at := uint32(reversed[symbol] >> indexBits); at < size; at += 1 << beyond {
			table[begin+at] = value
		}
	}
	return true
}

// plus adds the length of its code to an entry.
func plus(value entry, length uint32) entry {
	if value == noCode {
		return noCode
	}
	return value + length + length<<codeShift
}
