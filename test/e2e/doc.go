// Package e2e uses what was built as its user does: bin/airgap makes a bundle, installs
// it in a network namespace that has no way out, and real pods run there. `make test`
// builds what the tests need first:
//
//	bin/airgap  dist/system.airgap  dist/development.{key,pub}  build/podinfo/{image,chart}
//
// Each test that needs a machine makes a site (package airgap/test/site): a network namespace with one address, a data
// folder of its own, and whatever it starts there is gone when the test ends.
package e2e
