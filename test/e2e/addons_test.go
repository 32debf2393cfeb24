package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"airgap/test/site"
)

const routes = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: podinfo, namespace: demo}
spec:
  rules:
  - host: ingress.site
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: podinfo, port: {number: 9898}}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: podinfo, namespace: demo}
spec:
  parentRefs: [{name: traefik, namespace: kube-system}]
  hostnames: [route.site]
  rules:
  - backendRefs: [{name: podinfo, port: 9898}]
---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: podinfo, namespace: demo}
spec:
  entryPoints: [websecure]
  routes:
  - kind: Rule
    match: Host(` + "`own.site`" + `)
    services: [{name: podinfo, port: 9898}]
  tls: {}
`

// testIngress reaches podinfo through Traefik: by an Ingress, a route of the Gateway API and one of Traefik's own kind.
func testIngress(t *testing.T, s *node) {
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("True", "-n", "kube-system", "get", "helmchart", "traefik", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	})
	s.Apply(routes)
	for _, url := range []string{
		"http://ingress.site/version", "https://ingress.site/version", "http://route.site/version", "https://own.site/version",
	} {
		site.Eventually(t, patience, func() error { return s.fetch(url, `"version": "6.9.2"`) })
	}
	t.Run("the Ingress says where it is", func(t *testing.T) {
		site.Eventually(t, patience, func() error {
			return s.KubectlContains(s.IP, "-n", "demo", "get", "ingress", "podinfo", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		})
	})
	t.Run("a name that nobody has", func(t *testing.T) {
		if err := s.fetch("http://nobody.site/", "404 page not found"); err != nil {
			t.Error(err)
		}
	})
	t.Run("the default certificate is Traefik's own", func(t *testing.T) {
		out, _ := s.FromOutside("openssl", "s_client", "-connect", s.IP+":443", "-servername", "ingress.site")
		if !strings.Contains(out, "TRAEFIK DEFAULT CERT") {
			t.Errorf("openssl s_client:\n%s", out)
		}
	})
	t.Run("the Gateway accepts the route", func(t *testing.T) {
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("True", "-n", "demo", "get", "httproute", "podinfo", "-o", `jsonpath={.status.parents[0].conditions[?(@.type=="Accepted")].status}`)
		})
	})
	t.Run("a HelmChartConfig changes it", func(t *testing.T) {
		s.Apply("{apiVersion: helm.cattle.io/v1, kind: HelmChartConfig, metadata: {name: traefik, namespace: kube-system}, " +
			`spec: {valuesContent: "logs: {access: {enabled: true}}"}}`)
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("--accesslog=true", "-n", "kube-system", "get", "pods", "-l", "app.kubernetes.io/name=traefik",
				"--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].spec.containers[0].args}")
		})
		s.Kubectl("-n", "kube-system", "rollout", "status", "deployment/traefik", "--timeout=120s")
		site.Eventually(t, patience, func() error { return s.fetch("http://ingress.site/version", `"version": "6.9.2"`) })
		site.Eventually(t, patience, func() error {
			return s.KubectlContains(`"GET /version HTTP/1.1" 200`, "-n", "kube-system", "logs", "deployment/traefik")
		})
	})
}

// fetch gets a URL from another machine, for which the URL's host has the node's address, and wants text in the answer.
// Certificates are not verified.
func (s *node) fetch(url, text string) error {
	host := strings.Split(url, "/")[2]
	out, err := s.FromOutside("curl", "-sSk", "-m", "5", "--resolve", host+":80:"+s.IP, "--resolve", host+":443:"+s.IP, url)
	if err != nil {
		return err
	}
	if !strings.Contains(out, text) {
		return fmt.Errorf("%s: no %q in\n%s", url, text, out)
	}
	return nil
}

func testTop(t *testing.T, s *node) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"top", "nodes", "--no-headers"}, `(?m)^node-1\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%`},
		{[]string{"top", "pods", "-n", "demo", "--no-headers"}, `(?m)^podinfo\S*\s+\d+m\s+\d+Mi`},
	} {
		want := regexp.MustCompile(test.want)
		site.Eventually(t, patience, func() error {
			out, err := s.Command(append([]string{"kubectl"}, test.args...)...).CombinedOutput()
			if err != nil || !want.Match(out) {
				return fmt.Errorf("kubectl %s: %v\n%s", strings.Join(test.args, " "), err, out)
			}
			return nil
		})
	}
	if err := s.KubectlContains("True", "get", "apiservice", "v1beta1.metrics.k8s.io", "-o", `jsonpath={.status.conditions[?(@.type=="Available")].status}`); err != nil {
		t.Error(err)
	}
}

const volume = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: notes}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: notes}
spec:
  strategy: {type: Recreate}
  selector: {matchLabels: {app: notes}}
  template:
    metadata: {labels: {app: notes}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 1234}
      containers:
      - name: notes
        image: BUSYBOX
        command: [sh, -c, 'echo started >>/notes/starts; exec sleep 100000']
        volumeMounts: [{name: notes, mountPath: /notes}]
      volumes: [{name: notes, persistentVolumeClaim: {claimName: notes}}]
`

// testVolume writes into a volume of the default StorageClass, and reads it in another pod.
func testVolume(t *testing.T, s *node) {
	s.deploy("notes", volume)
	s.Kubectl("rollout", "restart", "deployment/notes")
	s.Kubectl("rollout", "status", "deployment/notes", "--timeout=120s")
	s.wantStarts(t, 2)
	info, err := os.Stat(filepath.Join(s.Paths.DataDir, "storage"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the volumes has mode %o, want 700", info.Mode().Perm())
	}
}

// wantStarts wants the volume to hold as many lines as pods have written.
func (s *node) wantStarts(t *testing.T, want int) {
	t.Helper()
	site.Eventually(t, patience, func() error {
		out, err := s.Command("kubectl", "exec", "deployment/notes", "--", "cat", "/notes/starts").CombinedOutput()
		if got := strings.Count(string(out), "started\n"); err != nil || got != want {
			return fmt.Errorf("%d pods have written to the volume, want %d: %v\n%s", got, want, err, out)
		}
		return nil
	})
}

// testVolumeRemains finds the volume as testVolume left it, but for the start of its pod after a reboot, and
// has it removed with its claim.
func testVolumeRemains(t *testing.T, s *node) {
	s.Kubectl("rollout", "status", "deployment/notes", "--timeout=120s")
	out := s.Kubectl("exec", "deployment/notes", "--", "cat", "/notes/starts")
	if strings.Count(out, "started\n") < 2 {
		t.Errorf("the volume has lost what was written before:\n%s", out)
	}
	s.Kubectl("delete", "deployment/notes", "pvc/notes", "--wait", "--timeout=60s")
	site.Eventually(t, patience, func() error {
		left, err := os.ReadDir(filepath.Join(s.Paths.DataDir, "storage"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left of the volume: %s", left[0].Name())
		}
		return err
	})
}

// testDisable takes Traefik out of a running site by its configuration. What the site has made of its kinds stays.
func testDisable(t *testing.T, s *node) {
	s.Configure("disable.yaml", "disable: [traefik]\n")
	site.Eventually(t, patience, func() error {
		for _, kind := range []string{"helmchart", "deployment", "service"} {
			out, err := s.Command("kubectl", "-n", "kube-system", "get", kind, "traefik", "--ignore-not-found", "-o", "name").CombinedOutput()
			if err != nil || len(out) > 0 {
				return fmt.Errorf("%s traefik is still there: %v\n%s", kind, err, out)
			}
		}
		return nil
	})
	if err := s.KubectlContains("podinfo", "-n", "demo", "get", "httproute,ingressroute", "-o", "name"); err != nil {
		t.Error(err)
	}
}
