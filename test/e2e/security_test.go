package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

// testSecurity uses the verbs that change keys, certificates and tokens under the running cluster. Pods live on.
func testSecurity(t *testing.T, s *node) {
	before := s.started("shell")
	t.Run("certificates", func(t *testing.T) { testCertificates(t, s) })
	t.Run("secrets-encrypt", func(t *testing.T) { testSecretsEncrypt(t, s) })
	t.Run("tokens", func(t *testing.T) { testTokens(t, s) })
	t.Run("CIS benchmark", func(t *testing.T) { testCIS(t, s, false) })
	t.Run("authorities", func(t *testing.T) { testAuthorities(t, s) })
	if after := s.started("shell"); after != before {
		t.Errorf("a pod was started again: %s, before %s", after, before)
	}
}

func testCertificates(t *testing.T, s *node) {
	type certificate struct{ Service, File, Status, Subject, Issuer, NotBefore string }
	list := func() map[string]certificate {
		t.Helper()
		var all []certificate
		if err := json.Unmarshal([]byte(s.Verb("certificate", "check", "--output", "json")), &all); err != nil {
			t.Fatal(err)
		}
		byFile := map[string]certificate{}
		for _, c := range all {
			if c.Status != "good" || c.Issuer == "" {
				t.Errorf("%s is %s, issued by %q", c.File, c.Status, c.Issuer)
			}
			byFile[c.File] = c
		}
		return byFile
	}
	first := list()
	if len(first) < 12 {
		t.Errorf("%d certificates only: %v", len(first), first)
	}
	admin, err := os.ReadFile(filepath.Join(s.Paths.DataDir, "airgap.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if out := s.Verb("certificate", "rotate", "--restart"); !strings.Contains(out, "ready again") {
		t.Errorf("rotate said\n%s", out)
	}
	for file, c := range list() {
		if c.Service != "authority" && c.NotBefore == first[file].NotBefore {
			t.Errorf("%s was not made anew", file)
		}
	}
	if now, _ := os.ReadFile(filepath.Join(s.Paths.DataDir, "airgap.yaml")); string(now) == string(admin) {
		t.Error("the administrator's kubeconfig is the old one")
	}
	s.works(t)
	s.Refuse(1, "certificate", "rotate", "--service", "etcd", "--data-dir", s.Paths.DataDir)
}

// works wants the API, the kubelet behind it, and the controllers to do their work.
func (s *node) works(t *testing.T) {
	t.Helper()
	site.Eventually(t, patience, s.Ready)
	site.Eventually(t, patience, func() error { return s.KubectlContains("uid=", "exec", "shell", "--", "id") })
	name := fmt.Sprintf("works-%d", time.Now().UnixNano())
	s.Kubectl("create", "deployment", name, "--image=airgap.internal/none:0", "--replicas=1")
	defer s.Kubectl("delete", "deployment", name, "--wait=false")
	site.Eventually(t, patience, func() error { return s.KubectlContains("node-1", "get", "pods", "-l", "app="+name, "-o", "wide") })
}

func testSecretsEncrypt(t *testing.T, s *node) {
	type status struct {
		Enabled bool
		Stage   string
		Keys    []struct{ Name, Hash string }
		Loaded  bool
		Secrets struct{ Total, Current int }
	}
	read := func() (got status) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.Verb("secrets-encrypt", "status", "--output", "json")), &got); err != nil {
			t.Fatal(err)
		}
		if !got.Enabled || got.Stage != "start" || len(got.Keys) != 1 || !got.Loaded || got.Secrets.Total == 0 || got.Secrets.Current != got.Secrets.Total {
			t.Errorf("status: %+v", got)
		}
		return got
	}
	s.Kubectl("create", "secret", "generic", "kept", "--from-literal=word=swordfish")
	before := read()
	t.Logf("rotate-keys:\n%s", s.Verb("secrets-encrypt", "rotate-keys"))
	after := read()
	if after.Keys[0].Hash == before.Keys[0].Hash || after.Secrets.Total < before.Secrets.Total {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if word := s.Kubectl("get", "secret", "kept", "-o", "jsonpath={.data.word}"); word != "c3dvcmRmaXNo" {
		t.Errorf("the secret reads %q", word)
	}
}

var joinToken = regexp.MustCompile(`^K10[0-9a-f]{64}::(server|node):[0-9a-f]{32}\n$`)

func testTokens(t *testing.T, s *node) {
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(s.Paths.DataDir, "server", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	server, agent := read("token"), read("agent-token")
	for _, token := range []string{server, agent} {
		if !joinToken.MatchString(token) {
			t.Errorf("a token is %q", token)
		}
	}
	for _, p := range s.Processes() {
		line := strings.Join(p.Args, " ")
		environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
		for _, token := range []string{server, agent} {
			if secret := strings.TrimSpace(token[strings.LastIndex(token, ":")+1:]); strings.Contains(line+string(environment), secret) {
				t.Errorf("process %d shows a token: %s", p.PID, line)
			}
		}
	}
	made := strings.TrimSpace(s.Verb("token", "create", "--ttl", "1h", "--description", "for a test"))
	id, secret, ok := strings.Cut(made[strings.LastIndex(made, ":")+1:], ".")
	if !ok || !strings.HasPrefix(made, server[:67]+"::") {
		t.Fatalf("token create printed %q", made)
	}
	if out := s.Verb("token", "list"); !strings.Contains(out, id) || strings.Contains(out, secret) {
		t.Errorf("token list:\n%s", out)
	}
	answers := func(want string) func() error {
		return func() error {
			out := host(t, "nsenter", "--net=/run/netns/"+s.Namespace, "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}",
				"-H", "Authorization: Bearer "+id+"."+secret, "https://127.0.0.1:6443/api")
			if out != want {
				return fmt.Errorf("a request with the token got %s, want %s", out, want)
			}
			return nil
		}
	}
	site.Eventually(t, patience, answers("200"))
	s.Verb("token", "delete", id)
	site.Eventually(t, patience, answers("401"))
	s.Refuse(1, "token", "delete", id, "--data-dir", s.Paths.DataDir)
	s.Refuse(2, "token", "create", "nonsense", "--data-dir", s.Paths.DataDir)

	s.Refuse(1, "token", "rotate", "--token", "wrong", "--data-dir", s.Paths.DataDir)
	rotate := s.Command("token", "rotate", "--data-dir", s.Paths.DataDir)
	rotate.Env = append(rotate.Env, "AIRGAP_TOKEN="+strings.TrimSpace(server))
	if fresh := site.MustOutput(t, rotate); fresh == server || fresh != read("token") || !joinToken.MatchString(fresh) {
		t.Errorf("token rotate printed %q", fresh)
	}
}

// testAuthorities replaces the authorities, with a restart after each stage.
func testAuthorities(t *testing.T, s *node) {
	ca := filepath.Join(s.Paths.DataDir, "server/tls/ca.crt")
	before, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"trust", "reissue", "finish"} {
		if out := s.Verb("certificate", "rotate-ca", "--restart"); !strings.Contains(out, "stage "+stage) {
			t.Fatalf("rotate-ca said\n%s", out)
		}
		s.works(t)
		if stage == "trust" { // pods that read the authorities at their start only
			site.Eventually(t, patience, func() error {
				bundle := s.Kubectl("-n", "kube-system", "get", "configmap", "kube-root-ca.crt", "-o", `jsonpath={.data.ca\.crt}`)
				if n := strings.Count(bundle, "BEGIN CERTIFICATE"); n != 2 {
					return fmt.Errorf("pods are given %d authorities, want both", n)
				}
				return nil
			})
			s.restartAddOns()
		}
	}
	if after, _ := os.ReadFile(ca); string(after) == string(before) {
		t.Error("the authority is the old one")
	}
	site.Eventually(t, patience, func() error {
		bundle := s.Kubectl("get", "configmap", "kube-root-ca.crt", "-o", `jsonpath={.data.ca\.crt}`)
		if strings.Contains(bundle, strings.TrimSpace(string(before))) {
			return errors.New("pods still trust the old authority")
		}
		return nil
	})
	s.Verb("certificate", "check")
	site.Eventually(t, patience, func() error {
		return s.Command("kubectl", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=5s").Run()
	})
}

// restartAddOns starts the pods of all packaged components again, and waits for them.
func (s *node) restartAddOns() {
	s.T.Helper()
	s.Kubectl("-n", "kube-system", "rollout", "restart", "deployment")
	for name := range strings.FieldsSeq(s.Kubectl("-n", "kube-system", "get", "deployments", "-o", "name")) {
		s.Kubectl("-n", "kube-system", "rollout", "status", name, "--timeout=120s")
	}
}

// testProfileCIS restarts the server with the profile and asks for every control again.
func testProfileCIS(t *testing.T, s *node) {
	s.Configure("cis.yaml", "profile: [cis]\n")
	site.Eventually(t, patience, func() error { return s.KubectlContains("uid=", "exec", "shell", "--", "id") })
	testCIS(t, s, true)
	// The add-ons are exempt, and run.
	s.restartAddOns()
}
