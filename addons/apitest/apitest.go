// Package apitest is what the tests of packages under addons share that need a real API server, with its
// controllers, without nodes, without a Helm controller of its own, and that nobody else uses:
//
//	airgap server --disable-agent --disable-helm-controller …
//	AIRGAP_TEST_KUBECONFIG=… go test ./addons/...
//
// Without the variable they are skipped; they take three minutes. test/e2e has the main ones again, on a whole node.
package apitest

import (
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Variable is the name of the environment variable with the path of the API server's kubeconfig.
const Variable = "AIRGAP_TEST_KUBECONFIG"

// Config returns the way to the API server of a kubeconfig, or skips the test if path is empty.
func Config(t *testing.T, path string) *rest.Config {
	t.Helper()
	if path == "" {
		t.Skip(Variable + " names no API server to test against")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// WaitFor waits until something is so, and fails the test if it is not in 40 s; explain is called then.
func WaitFor(t *testing.T, what string, is func() bool, explain func()) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			explain()
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
