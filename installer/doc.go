// Package installer turns a bare Linux machine and a bundle into a running node, and back.
//
// An install is a list of named steps ([Plan] lists them, [Run] runs them):
//
//	verify         the bundle's signature, against the machine's trust store or given keys
//	preflight      everything that could stop the install later; every problem is reported
//	import         the rest of the bundle, read once: images into containerd's store, the others staged
//	distribution   the executables unpacked beside those of the running version
//	images         the bundle's references become visible, after it is noted what they stood for
//	trial          on a machine that runs another version: its node stops, its datastore is kept, the way back noted
//	configuration  the node's configuration file
//	content        host files, charts and Kubernetes manifests to where the node looks for them
//	service        the service, written and enabled
//	switch         one symbolic link: from here on this is the machine's version
//	start          the service
//	node           wait until the node is Ready
//	releases       wait until every chart of the bundle is a Ready release
//	health         the new version goes on for its probation, with all as well as before, or the old one comes back
//	retain         what containerd does not hold of the bundle, kept for machines that join
//	commit         trust store, accepted version, report; staging removed
//
// # Invariants
//
//   - Nothing but the bounded manifest and signatures of a bundle is parsed before the
//     signature has been verified. Bytes are read from the medium once: those verified are those used.
//   - No image name, chart, executable or file of a bundle is where anything would use it before
//     the bundle has been read to its proper end.
//   - The step that a machine was at is on the disk before the next one begins
//     (<data-dir>/install/journal). An install that was killed, at any point, continues
//     when the same bundle is installed again; every step may be repeated.
//   - A node that an install has stopped is started again, however the install ends: by itself, or if
//     it is killed by its guard ([Guard]).
//   - An install that fails before "switch" is undone: a first install leaves nothing, a
//     later one leaves the version that ran, running. One that brings another version is undone until
//     "health" has ended, also by a power cut (see the type trial).
//   - The trust store and the highest accepted version change in "commit" alone, after success.
//
// The package imports no Kubernetes: it asks the API server in plain HTTPS, and drives the node
// through files ([config.Paths]) and its service.
package installer
