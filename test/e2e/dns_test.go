package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

// custom is a good file for cluster DNS, and two that would keep CoreDNS from starting.
const custom = `
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns-custom, namespace: kube-system}
data:
  ship.server: |
    ship.test:53 {
        hosts {
            10.99.0.77 printer.ship.test
        }
    }
  engine.override: |
    rewrite name engine.test node-1
  broken.override: |
    no-such-plugin
  again.server: |
    .:53 {
        whoami
    }
`

func testClusterDNS(t *testing.T, s *node) {
	lookUp := func(name string) (string, error) {
		out, err := s.Command("kubectl", "exec", "shell", "--", "timeout", "10", "nslookup", name).CombinedOutput()
		return string(out), err
	}
	resolves := func(name, address string) error {
		if out, err := lookUp(name); err != nil || !strings.Contains(out, address) {
			return fmt.Errorf("nslookup %s: %v\n%s", name, err, out)
		}
		return nil
	}
	t.Run("name of a node", func(t *testing.T) {
		// With the dot, for busybox' nslookup tries a short name in the search domains only.
		site.Eventually(t, patience, func() error { return resolves("node-1.", s.IP) })
	})
	t.Run("a name that does not exist", func(t *testing.T) {
		began := time.Now()
		out, err := lookUp("example.com")
		if err == nil || !strings.Contains(out, "example.com: NXDOMAIN") || time.Since(began) > 3*time.Second {
			t.Errorf("after %s: %v\n%s", time.Since(began), err, out)
		}
	})
	t.Run("a site's own zones, and broken ones", func(t *testing.T) {
		s.Apply(custom)
		defer s.Kubectl("-n", "kube-system", "delete", "configmap", "coredns-custom")
		// The running CoreDNS sees the files within two minutes; a new one, which has nothing older to keep, at once.
		s.Kubectl("-n", "kube-system", "rollout", "restart", "deployment/coredns")
		s.Kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
		for name, address := range map[string]string{
			"printer.ship.test": "10.99.0.77", "engine.test": s.IP,
			"podinfo.demo.svc.cluster.local": s.Kubectl("-n", "demo", "get", "service", "podinfo", "-o", "jsonpath={.spec.clusterIP}"),
		} {
			site.Eventually(t, patience, func() error { return resolves(name, address) })
		}
		site.Eventually(t, patience, func() error {
			out := s.Kubectl("-n", "kube-system", "events", "--for", "configmap/coredns-custom")
			for _, want := range []string{"broken.override is left out", "no-such-plugin", "again.server is left out", "already defined"} {
				if !strings.Contains(out, want) {
					return errors.New("no " + want + " among the events:\n" + out)
				}
			}
			return nil
		})
	})
}
