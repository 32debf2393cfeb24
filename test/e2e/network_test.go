package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/node/config"
	"airgap/test/site"
)

// testPodNetwork looks at what Flannel makes of a node, and damages it.
func testPodNetwork(t *testing.T, s *node) {
	t.Run("announced", func(t *testing.T) {
		if err := s.KubectlContains("vxlan", "get", "node", "node-1", "-o", `jsonpath={.metadata.annotations.flannel\.alpha\.coreos\.com/backend-type}`); err != nil {
			t.Error(err)
		}
		site.MustOutput(t, s.Inside("ip", "link", "show", "flannel.1"))
	})
	t.Run("packets fit through the tunnel", func(t *testing.T) {
		if err := s.KubectlContains("1450", "exec", "shell", "--", "cat", "/sys/class/net/eth0/mtu"); err != nil {
			t.Error(err)
		}
	})
	t.Run("rules come back", func(t *testing.T) {
		before := site.MustOutput(t, s.Inside("nft", "list", "table", "inet", "airgap-pods"))
		site.MustOutput(t, s.Inside("nft", "delete", "table", "inet", "airgap-pods"))
		site.Eventually(t, patience, func() error {
			after, err := s.Inside("nft", "list", "table", "inet", "airgap-pods").CombinedOutput()
			if err == nil && string(after) != before {
				err = fmt.Errorf("the table is another one:\n%s", after)
			}
			return err
		})
	})
}

// testSecondCluster runs another cluster on the machine of the first: in a network namespace of its own, with other
// networks and ports, dual stack. Each goes on as if it were alone.
func testSecondCluster(t *testing.T, first *node) {
	second := newNode(t)
	host(t, "ip", "-n", second.Namespace, "address", "add", "fd99::2/64", "dev", "eth0", "nodad")
	second.Install(demoBundle(t), "--https-listen-port", "7443",
		"--cluster-cidr", "10.52.0.0/16,fd52::/56", "--service-cidr", "10.53.0.0/16,fd53::/112", "--flannel-ipv6-masq")
	second.Apply(strings.ReplaceAll(dualStackWorkload, "BUSYBOX", busyboxImage(t)))
	second.Kubectl("wait", "--for=condition=Ready", "pod/web", "pod/asker", "--timeout=60s")

	t.Run("dual stack", func(t *testing.T) { testDualStack(t, second) })
	t.Run("apart", func(t *testing.T) {
		if out := first.Kubectl("get", "pods", "--all-namespaces"); strings.Contains(out, "asker") {
			t.Errorf("the first cluster has the second one's pod:\n%s", out)
		}
		if out := second.Kubectl("get", "pods", "--all-namespaces"); strings.Contains(out, "shell") {
			t.Errorf("the second cluster has the first one's pod:\n%s", out)
		}
		foreign := first.Inside(site.Built("bin/airgap"), "kubectl", "--kubeconfig", filepath.Join(second.Paths.DataDir, "airgap.yaml"),
			"--server", "https://127.0.0.1:6443", "get", "nodes")
		foreign.Env = append(os.Environ(), "AIRGAP_DATA_DIR="+first.Paths.DataDir)
		if out, err := foreign.CombinedOutput(); err == nil {
			t.Errorf("the first cluster obeys the second one's administrator:\n%s", out)
		}
		for _, dir := range []string{first.Paths.Run(), second.Paths.Run()} {
			if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", filepath.Base(dir))); err != nil {
				legacy, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", filepath.Base(dir)))
				if len(legacy) == 0 {
					t.Errorf("no control group of its own: %v", err)
				}
			}
		}
	})
	t.Run("a third in the same namespace is refused", func(t *testing.T) {
		third, err := os.MkdirTemp("/var/tmp", "ag-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(third)
		defer os.RemoveAll(config.PathsOf(third).Run())
		out := second.Refuse(4, "install", demoBundle(t), "--key", site.Built("dist/development.pub"), "--init", "none", "--data-dir", third)
		if !strings.Contains(out, second.Paths.DataDir) || !strings.Contains(out, "network namespace") {
			t.Errorf("the install says:\n%s", out)
		}
		out = second.Refuse(1, "server", "--data-dir", third, "--https-listen-port", "8443")
		if !strings.Contains(out, second.Paths.DataDir) || !strings.Contains(out, "network namespace") {
			t.Errorf("the server says:\n%s", out)
		}
	})
	t.Run("not uninstalled from another namespace", func(t *testing.T) {
		if out := first.Refuse(1, "uninstall", "--yes", "--data-dir", second.Paths.DataDir); !strings.Contains(out, "namespace") {
			t.Errorf("uninstall says:\n%s", out)
		}
	})
	t.Run("uninstalled", func(t *testing.T) { testUninstall(t, second) })
	t.Run("the first goes on", func(t *testing.T) {
		if err := first.Ready(); err != nil {
			t.Error(err)
		}
		site.MustOutput(t, first.Inside("ip", "link", "show", "cni0"))
		site.MustOutput(t, first.Inside("ip", "link", "show", "flannel.1"))
		site.MustOutput(t, first.Inside("nft", "list", "table", "inet", "airgap-pods"))
		if err := first.KubectlContains("podinfo", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://podinfo.demo:9898/"); err != nil {
			t.Error(err)
		}
	})
}

const dualStackWorkload = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: BUSYBOX, command: [sh, -c, "mkdir /tmp/w; echo both families > /tmp/w/index.html; exec httpd -f -p '[::]:8080' -h /tmp/w"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: asker, image: BUSYBOX, command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

func testDualStack(t *testing.T, s *node) {
	var addresses []string
	for _, query := range [][]string{
		{"get", "pod", "web", "-o", "jsonpath={.status.podIPs[*].ip}"},
		{"get", "service", "web", "-o", "jsonpath={.spec.clusterIPs[*]}"},
	} {
		both := strings.Fields(s.Kubectl(query...))
		if len(both) != 2 {
			t.Fatalf("%s: %v, want an address of each family", strings.Join(query, " "), both)
		}
		port := ":8080/"
		if query[1] == "service" {
			port = ":80/"
		}
		for _, address := range both {
			if strings.Contains(address, ":") {
				address = "[" + address + "]"
			}
			addresses = append(addresses, address+port)
		}
	}
	for _, address := range addresses {
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("both families", "exec", "asker", "--", "timeout", "5", "wget", "-qO-", "http://"+address)
		})
		site.Eventually(t, patience, func() error {
			out, err := s.Inside("curl", "-sS", "-m", "5", "http://"+address).CombinedOutput()
			if err == nil && !strings.Contains(string(out), "both families") {
				err = errors.New("another answer")
			}
			if err != nil {
				return fmt.Errorf("from the node, http://%s: %w: %s", address, err, out)
			}
			return nil
		})
	}
	if err := s.KubectlContains("fd53:", "exec", "asker", "--", "timeout", "5", "nslookup", "-type=AAAA", "web.default.svc.cluster.local"); err != nil {
		t.Error(err)
	}
	if both := strings.Fields(s.Kubectl("-n", "kube-system", "get", "service", "kube-dns", "-o", "jsonpath={.spec.clusterIPs[*]}")); len(both) != 2 {
		t.Errorf("cluster DNS has %v", both)
	}
}
