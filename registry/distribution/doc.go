// Package distribution serves what a node's containerd holds through the read side of the
// OCI Distribution Specification 1.1 (pull and content discovery):
//
//	GET, HEAD  /v2/                                  200: the API is spoken here
//	GET, HEAD  /v2/<name>/manifests/<tag or digest>  an index or a manifest
//	GET, HEAD  /v2/<name>/blobs/<digest>             any blob of an image, with ranges
//	GET        /v2/<name>/tags/list[?n=&last=]       tags in lexical order, in pages
//	GET        /v2/<name>/referrers/<digest>[?artifactType=]
//
// What writes (pushing, deleting) answers 405 UNSUPPORTED. Errors have the specification's JSON.
//
// # Names
//
// containerd knows an image by its full reference, "docker.io/library/nginx:1.29". A client that uses the
// node as the mirror of a registry names that registry beside the path, as containerd does:
//
//	/v2/library/nginx/manifests/1.29?ns=docker.io
//
// Without ns the path itself begins with the registry: /v2/docker.io/library/nginx/manifests/1.29.
//
// # What may be read
//
// A blob is served under a name only if an image that the node holds under that name reaches it, through
// indexes, manifests, configurations and layers. So a blob's digest alone, which is no secret,
// opens nothing, and each name shows what a registry would show under it. Who may ask at all is for the
// listener to say.
package distribution
