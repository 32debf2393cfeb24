// Package stories tells what happens to bare Debian machines without a network that get airgap from a stick: that an install
// turns them into a site that runs, that they boot into it again by themselves, and what power cuts do to them. The machines
// are whole ones, under QEMU; see package airgap/test/vm. It needs root, and what `make system podinfo` builds.
//
//	go test ./test/vm/stories -run TestFromStickToSite      the shortest, for a try
//	go test ./test/vm/stories [-bound] [-cuts 25] [-load-cuts 50] [-stable 30m]
package stories
