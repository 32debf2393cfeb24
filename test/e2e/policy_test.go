package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

// guarded is a namespace with a server and two who want something of it.
const guarded = `
apiVersion: v1
kind: Namespace
metadata: {name: guarded}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: guarded, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: BUSYBOX
    command: [sh, -c, 'echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp']
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {port: http, path: /index.html}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: guarded}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, namespace: guarded, labels: {app: friend}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: shell, image: BUSYBOX, command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: foe, namespace: guarded, labels: {app: foe}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: shell, image: BUSYBOX, command: [sleep, "100000"]}]
`

// hasty asks for the server's page from its first moment on, and says what it got.
const hasty = `
apiVersion: v1
kind: Pod
metadata: {name: hasty, namespace: guarded, labels: {app: hasty}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: shell
    image: BUSYBOX
    command: [sh, -c, 'for i in 1 2 3; do timeout 1 wget -qO- http://ADDRESS:8080/index.html; done; echo done']
`

// policyOf is a NetworkPolicy of the namespace.
func policyOf(name, spec string) string {
	return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: guarded}\nspec: %s\n", name, spec)
}

func testNetworkPolicy(t *testing.T, s *node) {
	busybox := busyboxImage(t)
	s.Apply(strings.ReplaceAll(guarded, "BUSYBOX", busybox))
	s.Kubectl("-n", "guarded", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	address := s.Kubectl("-n", "guarded", "get", "pod", "web", "-o", "jsonpath={.status.podIP}")
	ask := func(pod, where string) error {
		return s.KubectlContains("page", "exec", "-n", "guarded", pod, "--", "timeout", "2", "wget", "-qO-", "http://"+where+"/index.html")
	}
	reaches := func(t *testing.T, pod, where string, want bool) {
		t.Helper()
		site.Eventually(t, 20*time.Second, func() error {
			err := ask(pod, where)
			if want {
				return err
			}
			if err == nil {
				return fmt.Errorf("%s still reaches %s", pod, where)
			}
			return nil
		})
	}
	reaches(t, "friend", "web", true)
	reaches(t, "foe", address+":8080", true)

	t.Run("default deny", func(t *testing.T) {
		s.Apply(policyOf("deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}"))
		reaches(t, "friend", address+":8080", false)
		if err := s.KubectlContains("True", "-n", "guarded", "get", "pod", "web", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); err != nil {
			t.Error("the kubelet's probe does not reach an isolated pod:", err)
		}
	})
	t.Run("not even a first packet", func(t *testing.T) {
		s.Apply(policyOf("web", "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}")) // web would answer
		s.Apply(strings.NewReplacer("BUSYBOX", busybox, "ADDRESS", address).Replace(hasty))
		s.Kubectl("-n", "guarded", "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/hasty", "--timeout=60s")
		if log := s.Kubectl("-n", "guarded", "logs", "hasty"); strings.Contains(log, "page") || !strings.Contains(log, "done") {
			t.Errorf("a pod that may say nothing got an answer:\n%s", log)
		}
	})
	t.Run("names alone", func(t *testing.T) {
		s.Apply(policyOf("dns", `{podSelector: {}, policyTypes: [Egress], egress: [{
			to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}],
			ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]}]}`))
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("Address", "-n", "guarded", "exec", "friend", "--", "timeout", "5", "nslookup", "web.guarded.svc.cluster.local")
		})
		reaches(t, "friend", "web", false)
	})
	t.Run("allow by label and named port", func(t *testing.T) {
		s.Apply(policyOf("web", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: http}]}]}"))
		s.Apply(policyOf("out", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}"))
		reaches(t, "friend", "web", true)
		reaches(t, "foe", "web", false)
		s.Kubectl("-n", "guarded", "label", "pod", "foe", "app=friend", "--overwrite")
		reaches(t, "foe", "web", true)
	})
	t.Run("a flushed firewall is made again", func(t *testing.T) {
		s.Kubectl("-n", "guarded", "label", "pod", "foe", "app=foe", "--overwrite")
		reaches(t, "foe", "web", false)
		site.MustOutput(t, s.Inside("nft", "flush", "table", "inet", "airgap-policy"))
		reaches(t, "foe", "web", false)
		reaches(t, "friend", "web", true)
	})
	t.Run("nonsense is told", func(t *testing.T) {
		s.Apply(policyOf("nonsense", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: no-such-port}]}]}"))
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("no-such-port", "-n", "guarded", "describe", "networkpolicy", "nonsense")
		})
		reaches(t, "friend", "web", true)
	})
	t.Run("removal", func(t *testing.T) {
		s.Kubectl("-n", "guarded", "delete", "networkpolicy", "--all")
		reaches(t, "foe", "web", true)
	})
	s.Kubectl("delete", "namespace", "guarded", "--timeout=60s")
}
