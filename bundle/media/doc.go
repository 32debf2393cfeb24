// Package media opens bundles wherever they lie ([Open]) and pushes them to registries ([Push]).
//
//	site.airgap                        a file, or a folder
//	site.airgap.001                    the first of several parts; site.airgap means the same where there is no such file
//	-                                  standard input, as in `ssh desk cat site.airgap | airgap install -`
//	https://host/site.airgap           a file on a server; .001 as above
//	oci://host/repository:1.4.0        an OCI registry
//
// Whatever the medium, each byte is read once, in order, and held against what was signed by package bundle; nothing is joined,
// copied or written here. A connection that breaks is taken up again where it broke. What makes a new bundle of another can also open
// its blobs one by one, where the medium can ([OpenBlobs]).
//
// # Parts
//
// Parts are the tar cut at multiples of the first part's size ([bundle.PartName]). Nothing is added, so that cat joins them, and nothing in
// them says which they are: once the manifest is trusted, the tar's length and the size of the first part tell how many parts there
// must be and how long each is, and all that can be seen are held against that before the second is read. Their contents
// are entries of the bundle like any other. Parts may lie in several folders, or on media that are inserted one after
// the other ([Options.Ask]); a part is closed before the next is asked for, so that its medium can be taken out.
//
// # Registries
//
// In a registry a bundle is one OCI artifact of type [ArtifactType]: an image manifest with the empty config, whose layers are the
// bundle's files, in order, each titled (org.opencontainers.image.title) with its path. `oras pull` therefore gives the bundle's folder,
// and blobs are the same that its images have in that registry: what is there already is mounted, not sent. What makes
// a bundle of them is airgap.json and its signatures; the registry is asked, not trusted.
package media
