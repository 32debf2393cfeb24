package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airgap/test/site"
)

// echo answers with the address that its client has for it.
const echo = `
apiVersion: v1
kind: ConfigMap
metadata: {name: echo}
data: {client: "#!/bin/sh\necho\necho client=$REMOTE_ADDR\n"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: BUSYBOX
        command: [httpd, -f, -p, "8080", -h, /page]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: page, mountPath: /page/cgi-bin}]
      volumes: [{name: page, configMap: {name: echo, defaultMode: 0755}}]
`

// loadBalancer is the YAML of a service in front of echo; spec goes into its spec.
func loadBalancer(name string, port int, spec string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {type: LoadBalancer, selector: {app: echo}, ports: [{port: %d, targetPort: 8080}], allocateLoadBalancerNodePorts: false%s}
`, name, port, spec)
}

func testServiceLB(t *testing.T, s *node) {
	s.deploy("echo", echo)
	defer s.Kubectl("delete", "deployment/echo", "configmap/echo", "--wait=false")

	url := func(port int) string { return fmt.Sprintf("http://%s:%d/cgi-bin/client", s.IP, port) }
	fromOutside := func(text string, port int) error {
		out, err := s.FromOutside("curl", "-sS", "-m", "3", url(port))
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("no %q in %q", text, out)
		}
		return err
	}

	t.Run("reached from everywhere", func(t *testing.T) {
		s.Apply(loadBalancer("everywhere", 8081, ""))
		defer s.Kubectl("delete", "service/everywhere")
		s.waitForAddress("everywhere", s.IP)
		if out := s.Kubectl("get", "service", "everywhere", "-o", "jsonpath={.spec.ports[0].nodePort}"); out != "" {
			t.Errorf("it has the node port %s", out)
		}
		site.Eventually(t, patience, func() error { return fromOutside("client=", 8081) })
		if err := site.Contains("client=", s.Inside("curl", "-sS", "-m", "3", url(8081))); err != nil {
			t.Error("from the node: ", err)
		}
		if err := s.KubectlContains("client=", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", url(8081)); err != nil {
			t.Error("from a pod: ", err)
		}
		byName := strings.Replace(url(8081), s.IP, "node-1", 1)
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("client=", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", byName)
		})
	})
	t.Run("the client's address", func(t *testing.T) {
		s.Apply(loadBalancer("local", 8082, ", externalTrafficPolicy: Local"))
		defer s.Kubectl("delete", "service/local")
		s.waitForAddress("local", s.IP)
		site.Eventually(t, patience, func() error { return fromOutside(site.OutsideIP, 8082) })
		check := s.Kubectl("get", "service", "local", "-o", "jsonpath={.spec.healthCheckNodePort}")
		out, err := s.FromOutside("curl", "-sS", "-m", "3", "http://"+s.IP+":"+check+"/healthz")
		if err != nil || !strings.Contains(out, `"localEndpoints": 1`) {
			t.Errorf("health check: %v %s", err, out)
		}
	})
	t.Run("source ranges", func(t *testing.T) {
		s.Apply(loadBalancer("ranges", 8083, ", loadBalancerSourceRanges: [10.99.0.77/32]"))
		defer s.Kubectl("delete", "service/ranges")
		s.waitForAddress("ranges", s.IP)
		site.Eventually(t, patience, func() error {
			if err := fromOutside("client=", 8083); err == nil {
				return errors.New("a client outside the ranges is let in")
			}
			return nil
		})
		s.Apply(loadBalancer("ranges", 8083, ", loadBalancerSourceRanges: ["+site.OutsideIP+"/32]"))
		site.Eventually(t, patience, func() error { return fromOutside("client=", 8083) })
	})
	t.Run("two services want a port", func(t *testing.T) {
		s.Apply(loadBalancer("first", 8084, ""))
		s.waitForAddress("first", s.IP)
		s.Apply(loadBalancer("second", 8084, ""))
		defer s.Kubectl("delete", "service/second")
		s.waitForConflict("second", "TCP port 8084 of "+s.IP+" (node-1) is taken by service default/first")
		site.Eventually(t, patience, func() error { return s.KubectlContains("PortsInUse", "describe", "service", "second") })
		s.Kubectl("delete", "service/first")
		s.waitForAddress("second", s.IP)
		site.Eventually(t, patience, func() error { return fromOutside("client=", 8084) })
	})
	t.Run("a process has the port", func(t *testing.T) { testHostsPort(t, s, fromOutside) })
	t.Run("the API server's port", func(t *testing.T) {
		s.Apply(loadBalancer("greedy", 6443, ""))
		defer s.Kubectl("delete", "service/greedy")
		s.waitForConflict("greedy", "is taken by the API server")
		if out, err := s.FromOutside("curl", "-sk", "-m", "3", "https://"+s.IP+":6443/version"); err != nil || !strings.Contains(out, "Unauthorized") {
			t.Errorf("the API server answers %v %s", err, out)
		}
	})
	t.Run("it is no load balancer any more", func(t *testing.T) {
		s.Apply(loadBalancer("changing", 8086, ""))
		defer s.Kubectl("delete", "service/changing")
		s.waitForAddress("changing", s.IP)
		s.Kubectl("patch", "service", "changing", "--type=merge", "-p", `{"spec":{"type":"ClusterIP"}}`)
		s.waitForAddress("changing", "")
	})
}

// testHostsPort gives a port to a process of the host before a service asks for it.
func testHostsPort(t *testing.T, s *node, fromOutside func(text string, port int) error) {
	page := t.TempDir()
	if err := os.Mkdir(filepath.Join(page, "cgi-bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(page, "cgi-bin/client"), []byte("#!/bin/sh\necho\necho the host itself\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("nsenter", "--net=/run/netns/"+s.Namespace, "busybox", "httpd", "-f", "-p", "8085", "-h", page)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = process.Process.Kill(); _ = process.Wait() }
	defer stop()
	site.Eventually(t, patience, func() error { return fromOutside("the host itself", 8085) })

	s.Apply(loadBalancer("late", 8085, ""))
	defer s.Kubectl("delete", "service/late")
	s.waitForConflict("late", "TCP port 8085 of "+s.IP+" (node-1) is taken by a process of the node")
	if err := fromOutside("the host itself", 8085); err != nil {
		t.Error(err)
	}
	stop()
	s.waitForAddress("late", s.IP)
	site.Eventually(t, patience, func() error { return fromOutside("client=", 8085) })
}

// testDisabledServiceLB starts the node once with and once without the service load balancer disabled.
func testDisabledServiceLB(t *testing.T, s *node) {
	s.Apply(loadBalancer("orphan", 8087, ""))
	defer s.Kubectl("delete", "service/orphan")
	s.waitForAddress("orphan", s.IP)

	s.Configure("servicelb.yaml", "disable: [servicelb]\n")
	s.waitForAddress("orphan", "")
	s.Configure("servicelb.yaml", "")
	s.waitForAddress("orphan", s.IP)
}

// waitForAddress waits until a service's addresses are these, separated by blanks.
func (s *node) waitForAddress(service, want string) {
	s.T.Helper()
	site.Eventually(s.T, patience, func() error {
		if got := s.Kubectl("get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"); got != want {
			return fmt.Errorf("service %s has the addresses %q, want %q", service, got, want)
		}
		return nil
	})
}

// waitForConflict waits until a service has no address and a condition that says why.
func (s *node) waitForConflict(service, why string) {
	s.T.Helper()
	site.Eventually(s.T, patience, func() error {
		return s.KubectlContains(why, "get", "service", service, "-o", `jsonpath={.status.conditions[?(@.type=="LoadBalancerPortsError")].message}`)
	})
	s.waitForAddress(service, "")
}
