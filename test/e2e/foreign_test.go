package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/test/site"
)

// A site that brings its own pod network and its own ingress. The network's configuration is where every runtime looks for it, in the host's
// /etc, which the machines of a test share.
func TestForeignNetwork(t *testing.T) {
	const folder = "/etc/cni/net.d"
	configuration := filepath.Join(folder, "99-airgap-test.conflist")
	if entries, err := os.ReadDir(folder); len(entries) > 0 {
		t.Fatalf("%s holds the configuration of another pod network (%v); remove it", folder, err)
	}
	t.Cleanup(func() { // folders go if they are empty
		for _, path := range []string{configuration, folder, filepath.Dir(folder)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Log(err)
			}
		}
	})
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(configuration, []byte(`{"cniVersion": "1.0.0", "name": "own", "plugins": [
  {"type": "bridge", "bridge": "own0", "isGateway": true, "ipMasq": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newNode(t)
	t.Cleanup(func() { os.RemoveAll("/var/lib/cni/networks/own") }) // where host-local keeps what it gave
	s.Install(site.Built("dist/system.airgap"), "--flannel-backend", "none", "--disable", "traefik", "--cluster-cidr", "10.77.0.0/16")

	s.Apply("{apiVersion: v1, kind: Pod, metadata: {name: shell}, spec: {terminationGracePeriodSeconds: 1, " +
		"containers: [{name: main, image: '" + busyboxImage(t) + `', command: [sleep, "100000"]}]}}`)
	s.Kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=120s")
	if ip := s.Kubectl("get", "pod", "shell", "-o", "jsonpath={.status.podIP}"); !strings.HasPrefix(ip, "10.77.0.") {
		t.Errorf("the pod has the address %s", ip)
	}
	site.Eventually(t, patience, func() error { // through the service of CoreDNS
		return s.KubectlContains("10.43.0.1", "exec", "shell", "--", "timeout", "5", "nslookup", "kubernetes.default.svc.cluster.local")
	})
	links := site.MustOutput(t, s.Inside("ip", "-brief", "link"))
	if !strings.Contains(links, "own0") || strings.Contains(links, "flannel") || strings.Contains(links, "cni0") {
		t.Errorf("links:\n%s", links)
	}
	if out := s.Kubectl("get", "helmcharts,customresourcedefinitions,deployments", "--all-namespaces", "-o", "name"); strings.Contains(out, "traefik") {
		t.Errorf("of a disabled component:\n%s", out)
	}
	site.Eventually(t, patience, func() error { // healthy, whatever else still starts now
		return site.Contains("healthy       yes", s.Command("status", "--data-dir", s.Paths.DataDir))
	})
}
