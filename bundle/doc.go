// Package bundle reads and writes airgap bundles: [Create] makes one, [Open] reads one, [Verify] reads
// one through. This comment is the specification of the format.
//
// # A bundle
//
// A bundle is one plain, uncompressed POSIX (ustar) tar, by custom named
// *.airgap, or a directory that holds the same tree. It is an OCI image layout
// with a signed table of contents in front, so that tools which know nothing of
// airgap (skopeo, crane, oras, ctr image import) can read the images in it.
//
//	airgap.json                 the bundle manifest: what the signature covers
//	airgap.json.sigstore.json   Sigstore bundle v0.3 over the bytes of airgap.json
//	airgap.json.sig             the same signature, detached: base64 of ASN.1 DER
//	airgap.json.1.sigstore.json a second signer's pair, and so on: 1, 2 … 15
//	airgap.json.1.sig
//	oci-layout                  {"imageLayoutVersion":"1.0.0"}
//	index.json                  one descriptor per image and artifact
//	blobs/sha256/<hex>          metadata blobs, then the layers in import order
//
// The order is part of the format. A reader that never seeks can use every entry
// as it comes: it knows from the manifest what each following byte must be.
//
// # The bundle manifest
//
// airgap.json is [Manifest] in canonical JSON: keys in the order of the Go
// struct, no insignificant white space, no HTML escaping, UTF-8, no trailing
// newline, at most [MaxManifestBytes]. It lists every entry that follows the
// signatures, in order, with path, size, SHA-256 and role, then says what they
// are: images by reference and digest, charts, Kubernetes manifests, files and
// the distribution for each platform. Because OCI manifests declare the digest and the size
// of their layers, a writer makes and signs airgap.json before it has fetched a
// single layer.
//
// Charts, Kubernetes manifests, files and distributions are OCI artifacts in the
// same layout: an image manifest with an artifactType, the empty config "{}" (or
// Helm's config for charts) and one layer which is the thing itself. Layers are carried as
// the source has them, never recompressed, so every digest stays true.
//
// Attestations are in-toto statements (v1) in DSSE envelopes, artifacts like the others: who built the bundle from what (SLSA
// provenance v1), and which software is in it (SPDX 2.3). Their subjects are everything else that the manifest names
// ([Manifest.Subjects]), so they cannot be moved to another bundle. The manifest lists at most one of each type.
//
// A blob is stored once however many images share it. If it has several uses (a values
// file may be the same bytes as the empty config) it stands with the first of its roles, so
// a reader that looks for a thing looks by digest. Blobs are sorted by role, in the order of
// the Role constants, then by digest; layers stand in import order: images sorted by
// reference, base layer first, each once.
//
// What an image's registry has about it, signatures and signed statements, stands in the manifest's list of referrers: OCI manifests with
// their config and layers (role signature), as they are there. The bundle says that these bytes were there, and nothing of what they say.
//
// An image's root may be an index that names more platforms than the bundle
// carries. The index is kept byte for byte (its digest is what people pin); only
// the platforms listed in [Image.Platforms] are present, each complete.
//
// index.json has one descriptor per image reference, which carries the full reference as
// both org.opencontainers.image.ref.name and io.containerd.image.name, and one per artifact and referrer, which has no
// name: importers then leave it alone. Every byte of it follows from the manifest.
//
// # The tar
//
// Every header is ustar, type regular file, mode 0644, uid and gid 0, empty user
// and group names, mtime the manifest's issuedAt. A size of 8 GiB and more is written in the
// base-256 form, a smaller one in octal. Paddings are zeros. After the last entry come exactly
// two zero blocks, then the end of the stream: no padding to a larger record. Every byte is thus determined by
// the manifest, the signatures and the blobs.
//
// # Parts
//
// A tar may be cut into files: site.airgap.001, site.airgap.002 and so on to 999 at most, all of the first one's size but the last,
// which has what is left. Joined they are the tar; nothing is added. Where the first is, all are: its writer names it last.
//
// # The folder
//
// The same files under the same names, and nothing else but the folders blobs and blobs/sha256. A writer puts a new bundle in the place
// of another in one step; files that both have may stay the same files.
//
// # A delta
//
// A bundle may leave out what its site has. It lists every entry all the same; those that are not in it are marked
// omitted, and base names the bundles that have them, by name, version and digest of airgap.json. The tar, or the folder, has the other
// entries in their order. oci-layout and index.json are always carried, and an index or manifest is left out only with
// everything that it names: what a delta carries is reached through what it carries.
//
// Such a bundle verifies by itself: what it carries is checked as ever, and of the OCI graph all that is carried. Where its base is, a reader takes the
// omitted entries from there ([Reader.Supply]), holds each against the size and SHA-256 that were signed, and checks
// the whole graph: from then on a delta is like any other bundle. A machine that has not all of them refuses it
// before it reads on, and says what is missing ([MissingBaseError]).
//
// # From other machines
//
// A bundle that others have installed can be read from them, an entry at a time ([NewRemoteReader]). There is no tar then, and
// no header or padding to check. What follows the metadata (layout, indexes, manifests and configs, which come in order)
// may come in any order, since machines that load at once do well to take different blobs first. Nothing is lost by that: the
// signed manifest names each entry with size and SHA-256, the reader counts each once, holds each against
// these, and has come to the end when none is left. What those who use the entries rely on stays: the graph has been checked before
// the first index or manifest, and no layer comes before all metadata.
//
// # What a reader refuses
//
// A reader checks the signature before it parses anything but the headers around airgap.json and the signatures,
// bounds every size by the signed manifest, and refuses with a [Refusal], which says by what [Rule], on which entry and at which byte:
//   - a first entry that is not airgap.json, or one larger than [MaxManifestBytes];
//   - a signature file without its other half, or larger than [MaxSignatureBytes];
//   - JSON with unknown, duplicate, or differently-cased keys, or trailing data, or
//     that is not canonical (re-encoding must give the same bytes);
//   - a manifest that [Manifest.Validate] refuses: malformed or unsorted names, a digest without an entry;
//   - an index.json other than the one that follows from the manifest;
//   - an entry that is not the next listed one: unlisted, missing, duplicated,
//     reordered, under another spelling ("./a", "a//b"), or of another size;
//   - a header that differs by a bit from the one this format has for the entry: links, devices,
//     sparse files, and PAX or GNU records of any kind among others;
//   - a byte that does not match its entry's SHA-256, or a padding byte that is not zero;
//   - a statement of another type than the manifest lists it as, about anything but what the bundle carries, or with a false
//     signature in the name of a trusted key;
//   - an omitted entry without a base, or a base without one;
//   - an OCI graph that [CheckGraph] refuses: open, deeper than four, or leaving blobs over;
//   - data after the two zero blocks, or an end before them;
//   - in a folder: a link, or anything else that is not listed;
//   - from other machines: metadata out of order, an entry that came before or that is not among those listed.
//
// Each byte is read once, in order; [Reader.Verify], which hands nothing on, may take entries after the metadata side by side. The reader hands a long entry's bytes on while it
// hashes them; their consumer must keep them invisible until it has read io.EOF from the entry, or [Reader.Next]
// has moved on without an error, and must publish nothing until Next has returned io.EOF.
//
// # A worked example
//
//	{"apiVersion":"airgap/v1","kind":"BundleManifest","name":"site-a","version":"1.4.0",
//	 "platforms":["linux/amd64"],"issuedAt":"2026-11-22T09:00:00Z",
//	 "images":[{"reference":"docker.io/library/nginx:1.29","digest":"sha256:9f…",
//	   "mediaType":"application/vnd.oci.image.index.v1+json","size":10229,
//	   "platforms":[{"platform":"linux/amd64","digest":"sha256:3a…"}]}],
//	 "charts":[{"release":"podinfo","namespace":"demo","chart":"podinfo","version":"6.9.2",
//	   "artifact":"sha256:77…","digest":"sha256:51…","values":"sha256:0c…"}],
//	 "manifests":[],"files":[],"distributions":[],
//	 "entries":[{"path":"oci-layout","size":30,"sha256":"18f0…","role":"layout"},
//	   {"path":"index.json","size":1184,"sha256":"c2…","role":"layout"},
//	   {"path":"blobs/sha256/9f…","size":10229,"sha256":"9f…","role":"index"},…]}
//
// (wrapped here; one line in the file).
package bundle
