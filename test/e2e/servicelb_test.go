package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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

func testServiceLB(t *testing.T, s *site) {
	s.apply(strings.ReplaceAll(echo, "BUSYBOX", busyboxImage(t)))
	s.kubectl("rollout", "status", "deployment/echo", "--timeout=120s")
	defer s.kubectl("delete", "deployment/echo", "configmap/echo", "--wait=false")

	url := func(port int) string { return fmt.Sprintf("http://%s:%d/cgi-bin/client", s.nodeIP, port) }
	fromOutside := func(text string, port int) error {
		out, err := s.fromNeighbour("curl", "-sS", "-m", "3", url(port))
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("no %q in %q", text, out)
		}
		return err
	}

	t.Run("reached from everywhere", func(t *testing.T) {
		s.apply(loadBalancer("everywhere", 8081, ""))
		defer s.kubectl("delete", "service/everywhere")
		s.waitForAddress("everywhere", s.nodeIP)
		if out := s.kubectl("get", "service", "everywhere", "-o", "jsonpath={.spec.ports[0].nodePort}"); out != "" {
			t.Errorf("it has the node port %s", out)
		}
		eventually(t, patience, func() error { return fromOutside("client=", 8081) })
		if err := s.contains("client=", "nsenter", "--net=/run/netns/"+s.namespace, "curl", "-sS", "-m", "3", url(8081)); err != nil {
			t.Error("from the node: ", err)
		}
		if err := s.kubectlContains("client=", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", url(8081)); err != nil {
			t.Error("from a pod: ", err)
		}
		byName := strings.Replace(url(8081), s.nodeIP, "node-1", 1)
		eventually(t, patience, func() error {
			return s.kubectlContains("client=", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", byName)
		})
	})
	t.Run("the client's address", func(t *testing.T) {
		s.apply(loadBalancer("local", 8082, ", externalTrafficPolicy: Local"))
		defer s.kubectl("delete", "service/local")
		s.waitForAddress("local", s.nodeIP)
		eventually(t, patience, func() error { return fromOutside(neighbourIP, 8082) })
		check := s.kubectl("get", "service", "local", "-o", "jsonpath={.spec.healthCheckNodePort}")
		out, err := s.fromNeighbour("curl", "-sS", "-m", "3", "http://"+s.nodeIP+":"+check+"/healthz")
		if err != nil || !strings.Contains(out, `"localEndpoints": 1`) {
			t.Errorf("health check: %v %s", err, out)
		}
	})
	t.Run("source ranges", func(t *testing.T) {
		s.apply(loadBalancer("ranges", 8083, ", loadBalancerSourceRanges: [10.99.0.77/32]"))
		defer s.kubectl("delete", "service/ranges")
		s.waitForAddress("ranges", s.nodeIP)
		eventually(t, patience, func() error {
			if err := fromOutside("client=", 8083); err == nil {
				return errors.New("a client outside the ranges is let in")
			}
			return nil
		})
		s.apply(loadBalancer("ranges", 8083, ", loadBalancerSourceRanges: ["+neighbourIP+"/32]"))
		eventually(t, patience, func() error { return fromOutside("client=", 8083) })
	})
	t.Run("two services want a port", func(t *testing.T) {
		s.apply(loadBalancer("first", 8084, ""))
		s.waitForAddress("first", s.nodeIP)
		s.apply(loadBalancer("second", 8084, ""))
		defer s.kubectl("delete", "service/second")
		s.waitForConflict("second", "TCP port 8084 of "+s.nodeIP+" (node-1) is taken by service default/first")
		eventually(t, patience, func() error { return s.kubectlContains("PortsInUse", "describe", "service", "second") })
		s.kubectl("delete", "service/first")
		s.waitForAddress("second", s.nodeIP)
		eventually(t, patience, func() error { return fromOutside("client=", 8084) })
	})
	t.Run("a process has the port", func(t *testing.T) { testHostsPort(t, s, fromOutside) })
	t.Run("the API server's port", func(t *testing.T) {
		s.apply(loadBalancer("greedy", 6443, ""))
		defer s.kubectl("delete", "service/greedy")
		s.waitForConflict("greedy", "is taken by the API server")
		if out, err := s.fromNeighbour("curl", "-sk", "-m", "3", "https://"+s.nodeIP+":6443/version"); err != nil || !strings.Contains(out, "Unauthorized") {
			t.Errorf("the API server answers %v %s", err, out)
		}
	})
	t.Run("it is no load balancer any more", func(t *testing.T) {
		s.apply(loadBalancer("changing", 8086, ""))
		defer s.kubectl("delete", "service/changing")
		s.waitForAddress("changing", s.nodeIP)
		s.kubectl("patch", "service", "changing", "--type=merge", "-p", `{"spec":{"type":"ClusterIP"}}`)
		s.waitForAddress("changing", "")
	})
}

// testHostsPort gives a port to a process of the host before a service asks for it.
func testHostsPort(t *testing.T, s *site, fromOutside func(text string, port int) error) {
	page := t.TempDir()
	if err := os.Mkdir(filepath.Join(page, "cgi-bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(page, "cgi-bin/client"), []byte("#!/bin/sh\necho\necho the host itself\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("nsenter", "--net=/run/netns/"+s.namespace, "busybox", "httpd", "-f", "-p", "8085", "-h", page)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = process.Process.Kill(); _ = process.Wait() }
	defer stop()
	eventually(t, patience, func() error { return fromOutside("the host itself", 8085) })

	s.apply(loadBalancer("late", 8085, ""))
	defer s.kubectl("delete", "service/late")
	s.waitForConflict("late", "TCP port 8085 of "+s.nodeIP+" (node-1) is taken by a process of the node")
	if err := fromOutside("the host itself", 8085); err != nil {
		t.Error(err)
	}
	stop()
	s.waitForAddress("late", s.nodeIP)
	eventually(t, patience, func() error { return fromOutside("client=", 8085) })
}

// testDisabledServiceLB starts the node once with and once without the service load balancer disabled.
func testDisabledServiceLB(t *testing.T, s *site) {
	s.apply(loadBalancer("orphan", 8087, ""))
	defer s.kubectl("delete", "service/orphan")
	s.waitForAddress("orphan", s.nodeIP)

	folder := filepath.Join(s.dataDir, "config.yaml.d")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "disable.yaml")
	if err := os.WriteFile(file, []byte("disable: [servicelb]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.stopServer()
	s.startNode()
	eventually(t, patience, func() error { return s.command("kubectl", "get", "service", "orphan").Run() })
	s.waitForAddress("orphan", "")

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.stopServer()
	s.startNode()
	eventually(t, patience, func() error { return s.command("kubectl", "get", "service", "orphan").Run() })
	s.waitForAddress("orphan", s.nodeIP)
}

// waitForAddress waits until a service's addresses are these, separated by blanks.
func (s *site) waitForAddress(service, want string) {
	s.t.Helper()
	eventually(s.t, patience, func() error {
		if got := s.kubectl("get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"); got != want {
			return fmt.Errorf("service %s has the addresses %q, want %q", service, got, want)
		}
		return nil
	})
}

// waitForConflict waits until a service has no address and a condition that says why.
func (s *site) waitForConflict(service, why string) {
	s.t.Helper()
	eventually(s.t, patience, func() error {
		return s.kubectlContains(why, "get", "service", service, "-o", `jsonpath={.status.conditions[?(@.type=="LoadBalancerPortsError")].message}`)
	})
	s.waitForAddress(service, "")
}
