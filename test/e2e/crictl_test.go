package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

const lookedAt = `
apiVersion: v1
kind: Pod
metadata: {name: looked-at, labels: {purpose: crictl}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: reader
    image: BUSYBOX
    stdin: true
    command: [sh, -c, 'echo first; echo second; while read -r line; do echo "got $line"; done; exec sleep 100000']
`

// testCrictl uses every verb of crictl on the node.
func testCrictl(t *testing.T, s *node) {
	s.Apply(strings.ReplaceAll(lookedAt, "BUSYBOX", busyboxImage(t)))
	s.Kubectl("wait", "--for=condition=Ready", "pod/looked-at", "--timeout=60s")
	crictl := func(args ...string) string {
		t.Helper()
		return s.Airgap(append([]string{"crictl"}, args...)...)
	}
	container := strings.TrimSpace(crictl("ps", "--name", "^reader$", "-q"))
	pod := strings.TrimSpace(crictl("pods", "--name", "^looked-at$", "-q"))
	if len(container) != 64 || len(pod) != 64 {
		t.Fatalf("container %q, pod %q: want one ID each", container, pod)
	}
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"version"}, []string{"RuntimeName:  containerd", "RuntimeApiVersion:  v1"}},
		{[]string{"info"}, []string{`"RuntimeReady"`, `"config"`}},
		{[]string{"info", "-q", "-o", "yaml"}, []string{"type: NetworkReady"}},
		{[]string{"ps"}, []string{"CONTAINER", "IMAGE", "CREATED", "STATE", "ATTEMPT", "POD ID", "NAMESPACE", container[:13], "Running", "looked-at", "podinfo", "airgap.internal/busybox:"}},
		{[]string{"ps", "--label", "io.kubernetes.pod.name=looked-at", "--no-trunc"}, []string{container, pod}},
		{[]string{"ps", "--pod", pod, "-o", "json"}, []string{`"containers": [`, container, `"state": "CONTAINER_RUNNING"`}},
		{[]string{"ps", "--namespace", "^demo$"}, []string{"podinfo"}},
		{[]string{"ps", "--image", podinfoImage}, []string{"podinfo"}},
		{[]string{"ps", "-a", "--latest"}, []string{"CONTAINER"}},
		{[]string{"pods", "--namespace", "kube-system", "--state", "ready"}, []string{"POD ID", "RUNTIME", "coredns", "Ready"}},
		{[]string{"pods", "--label", "purpose=crictl", "-o", "yaml"}, []string{"name: looked-at"}},
		{[]string{"images", "--digests", "--pinned"}, []string{"IMAGE", "TAG", "DIGEST", "SIZE", "localhost:5000/podinfo", "6.9.2", "true"}},
		{[]string{"images", "-o", "json", podinfoImage}, []string{`"pinned": true`}},
		{[]string{"inspect", container}, []string{`"state": "CONTAINER_RUNNING"`, `"pid":`}},
		{[]string{"inspect", "-q", "-o", "yaml", container[:13]}, []string{"name: reader"}},
		{[]string{"inspectp", pod}, []string{`"state": "SANDBOX_READY"`, `"network": {`}},
		{[]string{"inspecti", podinfoImage}, []string{"localhost:5000/podinfo@sha256:"}},
		{[]string{"imagefsinfo"}, []string{`"imageFilesystems"`, "mountpoint"}},
		{[]string{"logs", container}, []string{"first\nsecond\n"}},
		{[]string{"logs", "--tail", "1", "-t", container}, []string{"Z second\n"}},
		{[]string{"exec", "-s", container, "echo", "-n", "synchronous"}, []string{"synchronous"}},
		{[]string{"exec", container, "id"}, []string{"uid="}},
		{[]string{"stats"}, []string{"CPU %", "MEM", "DISK", "INODES", "SWAP", "reader"}},
		{[]string{"stats", "-o", "json", container}, []string{`"workingSetBytes"`}},
		{[]string{"statsp", "--id", pod}, []string{"looked-at", pod[:13], "CPU %"}},
		{[]string{"pull", podinfoImage}, []string{"Image is up to date for sha256:"}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			out := site.MustOutput(t, s.Command(append([]string{"crictl"}, test.args...)...))
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
	t.Run("exec -i", func(t *testing.T) {
		cmd := s.Command("crictl", "exec", "-i", container, "cat")
		cmd.Stdin = strings.NewReader("through the pipe")
		if out := site.MustOutput(t, cmd); out != "through the pipe" {
			t.Errorf("got %q", out)
		}
	})
	t.Run("the command's exit status", func(t *testing.T) {
		for _, flags := range [][]string{nil, {"-s"}} {
			args := append(append([]string{"crictl", "exec"}, flags...), container, "sh", "-c", "exit 7")
			var exit *exec.ExitError
			if err := s.Command(args...).Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
				t.Errorf("%v: %v, want 7", args, err)
			}
		}
	})
	t.Run("attach", func(t *testing.T) {
		cmd := s.Command("crictl", "attach", "-i", container)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		wantLine(t, cmd, "got a line\n", func() { in.Write([]byte("a line\n")) })
	})
	t.Run("logs -f", func(t *testing.T) {
		wantLine(t, s.Command("crictl", "logs", "-f", "--tail", "1", container), "got a line\n", func() {})
	})
	t.Run("port-forward", func(t *testing.T) {
		podinfo := strings.Fields(crictl("pods", "--namespace", "^demo$", "--state", "ready", "-q"))
		wantLine(t, s.Command("crictl", "port-forward", podinfo[0], "18081:9898"), "Forwarding from 127.0.0.1:18081 -> 9898\n", func() {})
	})
	t.Run("completion", func(t *testing.T) {
		for line, want := range map[string]string{
			"crictl insp": "inspecti\t", "crictl logs ": container + "\tlooked-at/reader", "kubectl get po": "pods", "kubectl -n demo get service ": "podinfo", "helm li": "list\t",
		} {
			out := s.Airgap(append([]string{"__complete"}, strings.Split(line, " ")...)...)
			if !strings.Contains(out, want) {
				t.Errorf("%q is not completed to %q:\n%s", line, want, out)
			}
		}
	})
	t.Run("under its own name", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "crictl")
		if err := os.Symlink(site.Built("bin/airgap"), link); err != nil {
			t.Fatal(err)
		}
		cmd := s.Command()
		cmd.Args = append(cmd.Args[:2], link, "ps", "-o", "json")
		var list struct{ Containers []struct{ ID string } }
		if err := json.Unmarshal([]byte(site.MustOutput(t, cmd)), &list); err != nil || len(list.Containers) == 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("rmi keeps what a bundle brought", func(t *testing.T) {
		if out := s.Refuse(1, "crictl", "rmi", podinfoImage); !strings.Contains(out, "--force") {
			t.Errorf("it says: %s", out)
		}
		crictl("rmi", "--prune")
		if out := crictl("images", "-q", podinfoImage); out == "" {
			t.Error("podinfo's image is gone")
		}
	})
	t.Run("events", func(t *testing.T) {
		wantLine(t, s.Command("crictl", "events"), "{\n", func() { crictl("stop", container) })
	})
	t.Run("stop and remove", func(t *testing.T) {
		if out := crictl("ps", "-a", "--id", container, "--state", "exited", "-q"); strings.TrimSpace(out) != container {
			t.Errorf("the container has not stopped: %q", out)
		}
		crictl("rm", container)
		if out := s.Refuse(1, "crictl", "rmp", pod); !strings.Contains(out, "--force") {
			t.Errorf("a pod that is ready was removed: %s", out)
		}
		crictl("stopp", pod)
		crictl("rmp", "--force", pod)
		if out := crictl("pods", "--id", pod, "-q"); strings.TrimSpace(out) != "" {
			t.Errorf("the pod is still there: %s", out)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		for _, args := range [][]string{{"ps", "--state", "asleep"}, {"inspect", "nobody"}, {"rmi", "docker.io/library/nobody:1"}} {
			s.Refuse(1, append([]string{"crictl"}, args...)...)
		}
		for _, args := range [][]string{{"sp"}, {"rm"}, {"rm", "-a", "x"}, {"ps", "-o", "xml"}} {
			s.Refuse(2, append([]string{"crictl"}, args...)...)
		}
		if out := s.Refuse(1, "crictl", "-r", "/nowhere.sock", "ps"); !strings.Contains(out, "/nowhere.sock") {
			t.Errorf("it says: %s", out)
		}
	})
	s.Kubectl("delete", "pod", "looked-at", "--wait=false")
}

// wantLine starts a command that does not end by itself, does something, and wants a line in its output.
func wantLine(t *testing.T, cmd *exec.Cmd, want string, do func()) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for r := bufio.NewReader(stdout); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			lines <- line
		}
	}()
	do()
	for end := time.After(patience); ; {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("%v ended without %q", cmd.Args, want)
			}
			if line == want {
				return
			}
		case <-end:
			t.Fatalf("%v did not print %q", cmd.Args, want)
		}
	}
}
