// Package mirror is the registry that the containerd of a node asks for every image, whatever
// registry the image's name begins with.
//
//	containerd ──mutual TLS on loopback──► mirror ─┬─ 1. what the node holds (package distribution)
//	                                               ├─ 2. what another node of the cluster holds
//	                                               ├─ 3. the endpoints of registries.yaml, in order
//	                                               └─ 4. the registry itself
//
// containerd's own configuration is one file, certs.d/_default/hosts.toml, with this mirror as the only
// host ([WriteHosts]). Everything that registries.yaml can say, rewrites and credentials included, is done
// here, and what is pulled streams through.
//
// # What answers
//
// A digest says what its content is, so the node's own copy answers. A tag that a bundle brought (the image is
// pinned) is the site's truth and answers alone. A tag that was pulled over the network is a copy: under
// imagePullPolicy Always the configured endpoints are asked whether it has moved, and the copy answers when
// they cannot be reached or do not know it. The registry itself is not asked for what the node holds: without a
// network that would cost a wait for each start of a pod.
//
// # Other nodes
//
// What this node does not hold, tag or digest, it asks the peer ports of the others for, in random order and several at
// a time, before any registry. Their answer comes from what they hold alone, so no question travels on. A manifest is held against its
// digest here, a blob by containerd; a node that gave wrong bytes is left alone for [distrustFor]. What nobody has is not
// asked for again within [absentFor]: the pull of an image that is nowhere fails at once.
//
// # Failing
//
// A connection that cannot be made is given up after [dialTimeout] and remembered for
// [unreachableFor]; the error names every registry that was asked and why it did not answer. A registry that wants
// credentials which registries.yaml does not have makes the mirror ask containerd for them, which sends the
// pod's pull secret.
package mirror
