// Package payload is the format of bin/airgap: one executable file that carries a folder
// tree and unpacks it where it runs.
//
// # The file
//
//	launcher   a small static ELF executable: what the kernel runs
//	payload    a zstd frame of a ustar tar: the tree (bin/airgap, bin/runc, lib/…)
//	trailer    80 bytes, fixed: where the payload lies and the digest of all before it
//
// The trailer, with integers in little endian:
//
//	 0  16  magic "AIRGAP-PAYLOAD-1"
//	16   8  offset of the payload: the launcher's size
//	24   8  size of the payload
//	32   8  size of the tar inside: what unpacking writes, within a few kilobytes
//	40   8  zero
//	48  32  SHA-256 of launcher and payload
//
// ELF readers ignore what follows the last segment, so the file runs as it is. Packing is
// deterministic: the same launcher and tree give the same bytes. Names are sorted, owners and
// times are zero, of the mode only the execute bit is kept.
//
// # Versions
//
// A tree is unpacked once into a folder named by the digest in the trailer, beside those of
// other versions ([Payload.Unpack], [Stage]). The invariant: a folder named by a digest is complete,
// verified and on the disk. Unpacking goes to a hidden sibling, is hashed while it is written,
// synced, and only then renamed. A process killed on the way, or a power cut, leaves nothing but that
// sibling, which the next one removes. A lock on the folder keeps two from doing the work twice.
//
// The digest guards against a bad disk and a cut copy. It is no proof of origin, since it
// travels with what it covers: that is the bundle's signature's business.
package payload
