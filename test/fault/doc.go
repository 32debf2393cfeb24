// Package fault kills, fails and starves real installs: the real executable and a real bundle on a machine of package
// airgap/test/site, killed or failed at its system calls (package airgap/test/fault/trap), on disks that are full or lose their
// power (package airgap/test/disk) and from media that cannot be read. What must hold afterwards is what installer/doc.go and registry/doc.go promise. It needs root and
// what `make system podinfo` builds:
//
//	go test ./test/fault -points 200 -cuts 25 -upgrade-cuts 25 -load-cuts 50 -timeout 240m
//
// Without these flags a few points and cuts stand for all, so that `make test` ends soon. -part 2/4 takes the second quarter of the points.
// docs/reliability.md tells what came of it.
package fault
