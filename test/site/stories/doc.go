// Package stories tells what happens to a site of several machines when things go wrong: cables are pulled, machines die,
// disks fill, and a machine lies. Every machine is a real node in a network namespace; see package airgap/test/site. It needs
// root, a good quarter of an hour, and what `make test-site` builds first:
//
//	bin/airgap  dist/system.airgap  dist/development.{key,pub}
//
//	go test ./test/site/stories [-cut 10m] [-table docs/site.md]
//
// What was measured is printed as a table at the end. -table writes it into a page, between the marks that the page has
// for it.
package stories
