package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"airgap/node/config"
	"airgap/test/site"
)

// A small machine: profile edge, on a LAN that has IPv6 alone.
func TestSmallNode(t *testing.T) {
	s := newNode(t)
	const address = "fd99::1"
	host(t, "ip", "-n", s.Namespace, "address", "add", address+"/64", "dev", "eth0", "nodad")
	host(t, "ip", "-n", s.Namespace, "-4", "address", "flush", "dev", "eth0")
	s.Install(demoBundle(t), "--profile", "edge", "--node-ip", address, "--cluster-cidr", "fd42::/56", "--service-cidr", "fd43::/112")

	run := func(name string, test func(*testing.T, *node)) {
		t.Run(name, func(t *testing.T) { test(t, s.within(t)) })
	}
	run("IPv6 alone", testIPv6Alone)
	run("Ingresses alone", testIngressesAlone)
	run("one document for each API", testOpenAPI)
	run("few connections to the datastore", testDatastoreConnections)
	run("secrets in plain text and back", testEncryptionOffAndOn)
	run("a start against a broken webhook", testStartAgainstWebhook)
	run("further kinds when asked for", testKindsOnRequest)
}

func testIPv6Alone(t *testing.T, s *node) {
	for _, query := range [][]string{
		{"get", "node", "node-1", "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`},
		{"-n", "demo", "get", "pods", "-o", "jsonpath={.items[*].status.podIPs[*].ip}"},
		{"get", "services", "--all-namespaces", "-o", "jsonpath={.items[*].spec.clusterIPs[*]}"},
	} {
		got := strings.Fields(s.Kubectl(query...))
		for _, ip := range got {
			if !strings.Contains(ip, ":") {
				t.Errorf("%v: %s is not of IPv6", query, ip)
			}
		}
		if len(got) == 0 {
			t.Errorf("%v: no address", query)
		}
	}
	s.Apply("{apiVersion: v1, kind: Pod, metadata: {name: shell}, spec: {terminationGracePeriodSeconds: 1, " +
		"containers: [{name: main, image: '" + busyboxImage(t) + `', command: [sleep, "100000"]}]}}`)
	s.Kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
	site.Eventually(t, patience, func() error { // by its name, through the service
		return s.KubectlContains(`"version": "6.9.2"`, "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://podinfo.demo.svc.cluster.local:9898/version")
	})
}

const smallIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: podinfo, namespace: demo}
spec:
  rules:
  - host: ingress.site
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: podinfo, port: {number: 9898}}}}]}
`

func (s *node) kindsOfTraefik() (names string) {
	return s.Kubectl("get", "customresourcedefinitions", "-o", "name")
}

func testIngressesAlone(t *testing.T, s *node) {
	s.Apply(smallIngress)
	s.servesIngress(t)
	if kinds := s.kindsOfTraefik(); strings.Contains(kinds, "gateway.networking.k8s.io") || strings.Contains(kinds, "traefik.io") {
		t.Errorf("kinds that nobody asked for:\n%s", kinds)
	}
}

func (s *node) servesIngress(t *testing.T) {
	site.Eventually(t, patience, func() error {
		out, err := s.Inside("curl", "-sS", "-m", "5", "--resolve", "ingress.site:80:fd99::1", "http://ingress.site/version").CombinedOutput()
		if err == nil && !strings.Contains(string(out), "6.9.2") {
			err = errors.New("another answer")
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// The document of all kinds at once is left out. What asked for it asks for that of one API group instead.
func testOpenAPI(t *testing.T, s *node) {
	if out, err := s.Command("kubectl", "get", "--raw", "/openapi/v2").CombinedOutput(); err == nil {
		t.Errorf("/openapi/v2 has %d bytes", len(out))
	}
	if err := s.KubectlContains("valuesContent", "explain", "helmchart.spec"); err != nil {
		t.Error(err)
	}
	bad := s.Inside(site.Built("bin/airgap"), "kubectl", "apply", "-f", "-")
	bad.Stdin = strings.NewReader("{apiVersion: v1, kind: ConfigMap, metadata: {name: bad}, dota: {a: b}}")
	if out, err := bad.CombinedOutput(); err == nil || !strings.Contains(string(out), `unknown field "dota"`) {
		t.Errorf("a field that there is not: %v, %s", err, out)
	}
	if out := s.Airgap("helm", "-n", "demo", "upgrade", "podinfo", site.Built("build/podinfo/chart"), "--reuse-values", "--dry-run=server"); !strings.Contains(out, "kind: Service") {
		t.Errorf("helm upgrade --dry-run=server:\n%s", out)
	}
}

// testDatastoreConnections holds that the kinds share their way to the datastore: upstream has one for each.
func testDatastoreConnections(t *testing.T, s *node) {
	const most, connected = 20, " 03 "
	var count int
	for line := range strings.Lines(site.MustOutput(t, s.Inside("cat", "/proc/net/unix"))) {
		if strings.HasSuffix(strings.TrimSpace(line), "/kine.sock") && strings.Contains(line, connected) {
			count++
		}
	}
	if count == 0 || count > most {
		t.Errorf("%d connections to kine, want 1 to %d", count, most)
	}
}

func testEncryptionOffAndOn(t *testing.T, s *node) {
	s.Kubectl("create", "secret", "generic", "kept", "--from-literal=word=swordfish")
	for _, verb := range []string{"disable", "enable"} {
		t.Logf("%s:\n%s", verb, s.Verb("secrets-encrypt", verb))
		var got struct {
			Enabled bool
			Stage   string
			Secrets struct{ Total, Current int }
		}
		if err := json.Unmarshal([]byte(s.Verb("secrets-encrypt", "status", "--output", "json")), &got); err != nil {
			t.Fatal(err)
		}
		if got.Enabled != (verb == "enable") || got.Stage != "start" || got.Secrets.Total == 0 || got.Secrets.Current != got.Secrets.Total {
			t.Errorf("after %s: %+v", verb, got)
		}
		// Old revisions stay in the file for a while: after enable nothing can be said.
		if verb == "disable" && !s.inDatastore(t, "swordfish") {
			t.Error("what is not encrypted cannot be read in the database")
		}
		if word := s.Kubectl("get", "secret", "kept", "-o", "jsonpath={.data.word}"); word != "c3dvcmRmaXNo" {
			t.Errorf("after %s the secret reads %q", verb, word)
		}
	}
}

// testStartAgainstWebhook starts the server while everything that is written is to be allowed by somebody who is not there.
func testStartAgainstWebhook(t *testing.T, s *node) {
	uid := s.Kubectl("get", "pod", "shell", "-o", "jsonpath={.metadata.uid}{.status.containerStatuses[0].restartCount}")
	s.Apply(brokenWebhook)
	site.Eventually(t, patience, func() error {
		if out, err := s.Command("kubectl", "create", "configmap", "refused", "--dry-run=server").CombinedOutput(); err == nil {
			return fmt.Errorf("a config map can still be made: %s", out)
		}
		return nil
	})
	old, err := s.PID("server")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(old, config.RestartSignal); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, patience, func() error {
		if now, err := s.PID("server"); err != nil || now == old {
			return errors.Join(errors.New("the server has not been started again"), err)
		}
		return s.KubectlContains("ok", "get", "--raw", "/readyz")
	})
	s.servesIngress(t) // kubectl exec would fail: the webhook is asked about the kubelet's own question whether one may
	s.Kubectl("delete", "validatingwebhookconfiguration", "broken")
	site.Eventually(t, patience, s.Ready)
	if now := s.Kubectl("get", "pod", "shell", "-o", "jsonpath={.metadata.uid}{.status.containerStatuses[0].restartCount}"); now != uid {
		t.Errorf("the pod is another: %s, was %s", now, uid)
	}
}

// testKindsOnRequest asks for the Gateway API, and then no longer: a profile takes nothing from a cluster that has it.
func testKindsOnRequest(t *testing.T, s *node) {
	s.Configure("kinds.yaml", "ingress-kinds: [gateway-api]\n")
	accepted := func() error {
		return s.KubectlContains("True", "-n", "kube-system", "get", "gateway", "traefik", "-o", `jsonpath={.status.conditions[?(@.type=="Accepted")].status}`)
	}
	site.Eventually(t, patience, accepted)
	s.Configure("kinds.yaml", "")
	if err := accepted(); err != nil {
		t.Error("without the flag: ", err)
	}
	if kinds := s.kindsOfTraefik(); !strings.Contains(kinds, "gateways.gateway.networking.k8s.io") || strings.Contains(kinds, "traefik.io") {
		t.Errorf("kinds:\n%s", kinds)
	}
	s.servesIngress(t)
}
