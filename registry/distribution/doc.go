// Package distribution is the OCI Distribution Specification 1.1 over what a node's containerd holds.
//
// [Handler] serves the read side (pull and content discovery) of any containerd namespace:
//
//	GET, HEAD  /v2/                                  200: the API is spoken here
//	GET, HEAD  /v2/<name>/manifests/<tag or digest>  an index or a manifest
//	GET, HEAD  /v2/<name>/blobs/<digest>             any blob of an image, with ranges
//	GET        /v2/<name>/tags/list[?n=&last=]       tags in lexical order, in pages
//	GET        /v2/<name>/referrers/<digest>[?artifactType=]
//
// [Site] adds push and content management for the repositories of the site's own registry, [SiteHost]:
//
//	POST       /v2/<name>/blobs/uploads/             an upload; with ?digest= a whole blob, with ?mount=&from= another's
//	PATCH, PUT, GET, DELETE  …/uploads/<id>          its chunks, its end, how far it got, cancelling it
//	PUT        /v2/<name>/manifests/<tag or digest>
//	DELETE     /v2/<name>/manifests/<tag or digest>  and blobs that no manifest refers to
//
// [Registry] is both, for everybody beyond the node's own containerd: it asks an [Authorizer] about each request, and knows
// /v2/_catalog, and /v2/_records for other nodes. Errors have the specification's JSON.
//
// # Names
//
// containerd knows an image by its full reference, "docker.io/library/nginx:1.29". A client that uses the
// node as the mirror of a registry names that registry beside the path, as containerd does:
//
//	/v2/library/nginx/manifests/1.29?ns=docker.io
//
// Without ns the path itself may begin with the registry, which has a dot: /v2/docker.io/library/nginx/manifests/1.29.
// A path that does not is of the site's registry: /v2/team/app/manifests/1. The site's registry has the name
// [SiteHost] and besides those of all its nodes, which are known by their port ([Route.AtSite]): what was pushed to
// node1:6446/team/app:1 is found as node2:6446/team/app:1 too.
//
// # What may be read
//
// A blob is served under a name only if an image that the node holds under that name reaches it, through
// indexes, manifests, configurations and layers, or if it was pushed to that name and waits for its manifest. So a blob's
// digest alone, which is no secret, opens nothing, and each name shows what a registry would show under it.
// A manifest may refer to such blobs alone.
//
// # What is kept
//
// Pushed images are in a containerd namespace of their own ([registry.SiteNamespace]): the kubelet neither sees nor collects
// them, and a pod's image, pulled into the kubelet's namespace, shares their blobs on the disk. At every instant:
//
//  1. A blob has its name only once containerd has verified its digest; what is being uploaded is visible to nobody.
//  2. A tag or digest is named in one transaction, after everything it reaches is stored, under a lease until then.
//  3. What is stored belongs to a name, to a lease that ends by itself, or to an upload that this process knows. Leases of
//     uploads of a former process are removed at the start.
//
// containerd's garbage collection takes the rest. See record.go for how names of several nodes become one, and
// [Site.Run] for the rules by which names go that nobody deletes.
package distribution
