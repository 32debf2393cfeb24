package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

// testOwnImages pushes an image with a service account's token, as a build job does, and runs pods from it.
func testOwnImages(t *testing.T, s *node) {
	s.Kubectl("create", "namespace", "team")
	for _, account := range []string{"ci", "stranger"} {
		s.Kubectl("create", "serviceaccount", "-n", "team", account)
	}
	s.Kubectl("create", "rolebinding", "-n", "team", "ci", "--clusterrole=airgap:image-pusher", "--serviceaccount=team:ci")
	token := strings.TrimSpace(s.Kubectl("create", "token", "-n", "team", "ci"))
	stranger := strings.TrimSpace(s.Kubectl("create", "token", "-n", "team", "stranger"))

	certs := t.TempDir()
	authorities := site.MustOutput(t, s.Inside("curl", "-sk", "https://"+s.IP+":6443/cacerts"))
	if err := os.WriteFile(filepath.Join(certs, "ca.crt"), []byte(authorities), 0o600); err != nil {
		t.Fatal(err)
	}
	podinfo := "oci:" + site.Built("build/podinfo/image") + ":" + podinfoImage
	registry := s.IP + ":6446"
	skopeo := func(token string, args ...string) (string, error) {
		verb := append([]string{args[0]}, "--authfile", filepath.Join(certs, "none.json"))
		if args[0] == "copy" {
			verb = append(verb, "-q", "--dest-cert-dir", certs)
			if token != "" {
				verb = append(verb, "--dest-creds", "any:"+token)
			}
		} else {
			verb = append(verb, "--cert-dir", certs, "--creds", "any:"+token)
		}
		out, err := s.Inside("skopeo", append(verb, args[1:]...)...).CombinedOutput()
		return string(out), err
	}

	t.Run("who has not the right is refused", func(t *testing.T) {
		for _, test := range []struct{ token, to, want string }{
			{"", "team/app:1", "401"}, {"wrong", "team/app:1", "unauthorized"}, {stranger, "team/app:1", "403"}, {token, "other/app:1", "403"},
			{token, "docker.io/library/nginx:1", "403"},
		} {
			out, err := skopeo(test.token, "copy", podinfo, "docker://"+registry+"/"+test.to)
			if err == nil || !strings.Contains(out, test.want) && !strings.Contains(out, "authentication required") && !strings.Contains(out, "has not the right") {
				t.Errorf("push to %s: %v, want %s\n%s", test.to, err, test.want, out)
			}
		}
		if out, err := s.FromOutside("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://"+registry+"/v2/_catalog"); err != nil || out != "401" {
			t.Errorf("from the LAN without credentials: %s, %v", out, err)
		}
	})
	if out, err := skopeo(token, "copy", podinfo, "docker://"+registry+"/team/app:1"); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	t.Run("pods run what was pushed, under any name of the site's registry", func(t *testing.T) {
		for name, image := range map[string]string{"own-by-node": registry + "/team/app:1", "own-by-site": "registry.airgap.internal/team/app:1"} {
			s.runPod(t, name, image)
		}
	})
	t.Run("airgap registry", func(t *testing.T) {
		s := s.within(t)
		out := s.Verb("registry", "push", podinfo, "team/by-hand:1")
		if !strings.Contains(out, "pushed registry.airgap.internal/team/by-hand:1@sha256:") {
			t.Errorf("push: %s", out)
		}
		if out := s.Verb("registry", "ls"); !strings.Contains(out, "registry.airgap.internal/team/app:1 ") || !strings.Contains(out, "registry.airgap.internal/team/by-hand:1 ") {
			t.Errorf("ls:\n%s", out)
		}
		s.runPod(t, "by-hand", "registry.airgap.internal/team/by-hand:1")
		s.Verb("registry", "rm", "team/by-hand:1")
		if out := s.Verb("registry", "ls", "team/app"); strings.Contains(out, "by-hand") {
			t.Errorf("removed, and listed:\n%s", out)
		}
	})
	t.Run("what was deleted is gone", func(t *testing.T) {
		if out, err := skopeo(token, "delete", "docker://"+registry+"/team/app:1"); err != nil {
			t.Fatalf("delete: %v\n%s", err, out)
		}
		s.Kubectl("run", "own-gone", "--image="+registry+"/team/app:1", "--image-pull-policy=Always", "--restart=Never")
		site.Eventually(t, 20*time.Second, func() error {
			return s.KubectlContains("no node of the site", "get", "events", "--field-selector", "involvedObject.name=own-gone,reason=Failed", "-o", "jsonpath={.items[*].message}")
		})
		s.Kubectl("delete", "pod", "own-gone", "--wait=false")
		site.Eventually(t, patience, func() error {
			if out := s.Airgap("ctr", "-n", "airgap-registry", "leases", "ls", "-q"); strings.TrimSpace(out) != "" {
				return fmt.Errorf("leases are left: %s", out)
			}
			return nil
		})
	})
}

// testPushedAcross pushes to one machine and runs a pod on another, which is a home of the image as well.
func testPushedAcross(t *testing.T, first, second *node) {
	podinfo := "oci:" + site.Built("build/podinfo/image") + ":" + podinfoImage
	first.Verb("registry", "push", podinfo, "across/app:1")
	site.Eventually(t, patience, func() error {
		if out := second.Airgap("ctr", "-n", "airgap-registry", "images", "ls", "-q"); !strings.Contains(out, "registry.airgap.internal/across/app:1") {
			return fmt.Errorf("%s has no copy: %s", second.Name, out)
		}
		return nil
	})
	for name, registry := range map[string]string{"across-first": first.IP + ":6446", "across-second": second.IP + ":6446", "across-site": "registry.airgap.internal"} {
		first.Kubectl("run", name, "--image="+registry+"/across/app:1", "--image-pull-policy=Always", "--restart=Never",
			"--overrides", `{"spec":{"nodeName":"`+second.Name+`"}}`)
		first.Kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
		first.Kubectl("delete", "pod", name, "--wait=false", "--grace-period=1")
	}
	first.Verb("registry", "rm", "across/app:1")
	site.Eventually(t, patience, func() error {
		out, err := second.Command("crictl", "pull", "registry.airgap.internal/across/app:1").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "no node of the site") {
			return fmt.Errorf("%s pulls what was removed: %v\n%s", second.Name, err, out)
		}
		return nil
	})
}
