// Package apitest is what the tests of packages under addons share that need a real API server, with its
// controllers, without nodes, without a Helm controller of its own, and that nobody else uses:
//
//	airgap server --disable-agent --disable-helm-controller …
//	AIRGAP_TEST_KUBECONFIG=… go test ./addons/...
//
// Without the variable they are skipped. test/e2e runs them against a server of its own.
package apitest

import (
	"os"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const kubeconfigVariable = "AIRGAP_TEST_KUBECONFIG"

// Config returns the way to the API server, or skips the test if there is none.
func Config(t *testing.T) *rest.Config {
	t.Helper()
	path := os.Getenv(kubeconfigVariable)
	if path == "" {
		t.Skip(kubeconfigVariable + " names no API server to test against")
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
