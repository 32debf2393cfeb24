// Package gunzip decompresses gzip streams (RFC 1952, RFC 1951) of any number of members. An install spends more
// of its processor time on that than on anything else in user space, and this decoder takes about half
// of what compress/gzip and its well-known replacements take, by three means:
//
//   - It writes into the buffer of its caller, with the last [HistoryBytes] of what came before in front,
//     instead of into a window of its own that is copied from.
//   - It keeps 64 bits of input in a register, and reads the next eight bytes with one load.
//   - A table entry holds all there is to know of a symbol: its value, the length of its code and how many bits follow.
//
// The stream is bounded in no way but by the caller, who hands in one buffer after another. Memory is that of
// the [Reader]: some 300 KiB. Bounds are checked by the compiler's own code; nothing here is unsafe.
//
// What is not a valid stream is refused as compress/gzip refuses it, with [ErrFormat], [ErrChecksum] or
// [io.ErrUnexpectedEOF]; a fuzz test compares the two.
package gunzip
