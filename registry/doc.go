// Package registry is the content of a machine: the images that its containerd
// holds, reached without containerd running.
//
// [OpenStore] opens, in this process, the three stores under containerd's root
// folder with containerd's own code and options, in namespace k8s.io, the one the
// kubelet's images live in:
//
//	io.containerd.content.v1.content         blobs by digest
//	io.containerd.metadata.v1.bolt/meta.db   names, labels, leases, what refers to what
//	io.containerd.snapshotter.v1.overlayfs   unpacked layers
//
// What [Store.Import] leaves there is what a pull by the kubelet would have left, so
// the daemon that starts afterwards finds every image complete, unpacked and named,
// and pulls nothing.
//
// # The import
//
// Blobs come in one pass ([Import.Blob]), metadata first, then layers; each is read
// once. A layer goes to a worker as soon as its bytes are verified, and is unpacked
// into a snapshot of its own from the page cache while later blobs still stream.
// Overlayfs lets every layer be unpacked without its parent, so all cores work at once;
// snapshots are tied to their parents when they are committed. A layer shared by images
// is stored once, and unpacked once for each chain of layers it sits on.
//
// # Invariants
//
// They hold at every instant, so also after a kill or a power cut.
//
//  1. No image name exists whose blobs and snapshots are not all verified and synced.
//     Names are made in the last transaction of [Import.Commit], together with the
//     end of the lease.
//  2. A file under blobs/sha256 is whole, verified and on the disk: blobs are written in a
//     staging folder, and moved only after a syncfs that follows their verification.
//     containerd itself trusts such a file by its name.
//  3. A committed snapshot holds a whole layer whose uncompressed digest is that of the
//     image's configuration, and was synced before it was committed.
//  4. What an import has registered belongs to its lease until Commit: containerd, should it
//     start in between, collects none of it.
//  5. The database changes in few large transactions, always after the data that they
//     speak of has been synced, by one syncfs for all rather than an fsync for each file.
//
// An import that was killed is continued by another with the same lease: blobs
// and snapshots that were registered are kept, what was being written or unpacked is
// removed at its start. Progress is registered while the import runs, every
// [checkpointInterval]. [Import.Abort] ends the lease and collects what it alone protected.
//
// # Bounds
//
// Memory does not grow with the size of images: buffers are fixed, a zstd window is at most
// [maxZstdWindowBytes], metadata blobs at most [MaxMetadataBytes]. Unpacking stops
// with [ErrNoSpace] before it has taken the last [reserveBytes] of the disk, however
// far a layer expands.
package registry
