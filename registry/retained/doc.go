// Package retained is what a node keeps of the bundles that were installed on it beside what its
// containerd holds, so that it can hand each bundle, whole and as it was signed, to another machine.
//
// An install leaves in the folder:
//
//	<hex>/airgap.json            what was signed, and the signatures, under their names in the
//	<hex>/airgap.json.sig …      bundle; <hex> is the SHA-256 of airgap.json
//	<hex>/retained.json          what this package has to know of the bundle; see record
//	blobs/<hex>                  every blob of a bundle that no image in containerd's store refers to:
//	                             charts, values, manifests, host files, distributions, the
//	                             metadata of these, the layout's files, images for other platforms alone
//
// The images' own blobs are read from containerd's content store, where a file exists only whole.
//
// # Invariants
//
// They hold at every instant, so also after a kill or a power cut.
//
//  1. A folder <hex> exists only once everything in it, and every blob that it lists, is on the disk.
//  2. A file under blobs is whole, and was verified by whoever handed it in.
//  3. Of the bundles of one name only the one that was installed last is kept. A blob goes when no
//     bundle lists it.
//
// What is read is asked for by other machines, which verify it: nothing is hashed here. The package
// knows no bundle format; a name is one that an install has given it.
package retained
