package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/test/site"
)

// testKeyInCluster signs with a key that is a Secret of the cluster, through stock cosign (k8s://).
func testKeyInCluster(t *testing.T, s *node) {
	folder := site.Built("build/cosign")
	if _, err := os.Stat(filepath.Join(folder, "cosign")); err != nil {
		t.Skip("make build/cosign/cosign")
	}
	dir, err := os.MkdirTemp("/var/tmp", "ag-key-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, filepath.Join(dir, "airgap.yaml"), "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: signed, version: 1.0.0}\nspec: {from: [], platforms: [linux/amd64]}\n")
	within := func(args ...string) string {
		t.Helper()
		return site.MustOutput(t, s.Inside("env", append([]string{"-C", dir, "KUBECONFIG=" + s.Paths.Kubeconfig(), "PATH=" + folder + ":" + os.Getenv("PATH"),
			"HOME=" + dir, "COSIGN_PASSWORD=of the key"}, args...)...))
	}
	within("cosign", "generate-key-pair", "k8s://default/signer")
	public := within("cosign", "public-key", "--key", "k8s://default/signer")
	write(t, filepath.Join(dir, "signer.pub"), public)
	within(site.Built("bin/airgap"), "build", "-o", "site.airgap", "--key", "k8s://default/signer", "--provenance")
	if out := within(site.Built("bin/airgap"), "verify", "site.airgap", "--key", "signer.pub"); !strings.Contains(out, "good") {
		t.Errorf("verify: %s", out)
	}
	s.Kubectl("delete", "secret", "signer")
}
