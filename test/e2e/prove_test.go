package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"airgap/test/site"
)

// provable is a bundle of which everything starts: a Deployment, a Job, and a CronJob that waits for midnight.
const provable = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: first, image: BUSYBOX, command: ["true"]}]
      containers: [{name: web, image: BUSYBOX, command: [httpd, -f, -p, "8080"], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: sum, namespace: default}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: sum, image: BUSYBOX, command: ["true"]}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: default}
spec: {schedule: "0 0 * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: BUSYBOX}]}}}}}
`

// more is what a newer version has.
const more = `
---
apiVersion: batch/v1
kind: Job
metadata: {name: more, namespace: default}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: more, image: BUSYBOX, command: ["true"]}]}}}
`

// operated is what an operator is told: the Helm controller of the node.
const operated = `
---
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: operated, namespace: kube-system}
spec: {targetNamespace: default, chartContent: CHART}
`

// operand is the template in that chart, which looks into the cluster: where there is none, at the desk, it makes nothing.
const operand = `{{ if lookup "v1" "Namespace" "" "kube-system" }}{apiVersion: v1, kind: Pod, metadata: {name: operand}, spec: {containers: [{name: main, image: "registry.example/hidden:7"}]}}{{ end }}`

// What airgap build --prove starts is taken down, whatever becomes of it.
func TestProve(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "ag-prove-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	before := traces(t)
	build := func(name, version, manifest string, flags ...string) *exec.Cmd {
		write(t, filepath.Join(dir, name+"-objects.yaml"), strings.ReplaceAll(manifest, "BUSYBOX", busyboxImage(t)))
		write(t, filepath.Join(dir, name+".yaml"), fmt.Sprintf("apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: %s, version: %s}\nspec:\n"+
			"  from: [%s]\n  platforms: [linux/amd64]\n  manifests: [%s-objects.yaml]\n", name, version, site.Built("dist/system.airgap"), name))
		cmd := exec.Command(site.Built("bin/airgap"), append([]string{"build", "-f", filepath.Join(dir, name+".yaml"),
			"-o", filepath.Join(dir, name+".airgap"), "--key", site.Built("dist/development.key"), "--prove", "--prove-settle", "4s"}, flags...)...)
		cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=")
		return cmd
	}
	t.Run("all", func(t *testing.T) {
		testProofs(t, build)
	})
	left := slices.DeleteFunc(traces(t), func(trace string) bool { return slices.Contains(before, trace) })
	if len(left) > 0 {
		t.Errorf("left on the machine:\n%s", strings.Join(left, "\n"))
	}
}

// testProofs proves bundles, two at a time.
func testProofs(t *testing.T, build func(name, version, manifest string, flags ...string) *exec.Cmd) {
	t.Run("a pod that does not become Ready", func(t *testing.T) {
		t.Parallel() // it waits
		failed(t, build("crash", "1.0.0", strings.Replace(provable, "httpd, -f", "httpd-without, -f", 1), "--prove-timeout", "45s"), 1,
			"not Ready within 45s", "pod default/web-", "image "+busyboxImage(t)+": ")
	})
	t.Run("in turn", func(t *testing.T) {
		t.Parallel()
		testProofsInTurn(t, build)
	})
}

func testProofsInTurn(t *testing.T, build func(name, version, manifest string, flags ...string) *exec.Cmd) {
	t.Run("a bundle that has all", func(t *testing.T) {
		var report struct {
			Proof struct {
				Pods   int
				Images []string
			}
			NotStarted []string
		}
		out := site.MustOutput(t, build("good", "1.0.0", provable, "--output", "json", "--split", "100m"))
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		if report.Proof.Pods < 3 || !slices.Contains(report.Proof.Images, busyboxImage(t)) || report.NotStarted != nil {
			t.Errorf("the proof: %s", out)
		}
	})
	t.Run("a delta", func(t *testing.T) {
		cmd := build("good", "1.1.0", provable+more)
		folder := filepath.Dir(cmd.Args[3])
		cmd.Args = append(cmd.Args, "-o", filepath.Join(folder, "delta.airgap"), "--since", filepath.Join(folder, "good.airgap"))
		out := site.MustOutput(t, cmd)
		for _, want := range []string{"a delta: for machines with good 1.0.0", "proved: ", "on a machine with no way out"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
	t.Run("an operator pulls what nothing lists", func(t *testing.T) {
		chart := base64.StdEncoding.EncodeToString(chartArchive(t, operand))
		failed(t, build("bad", "1.0.0", provable+strings.ReplaceAll(operated, "CHART", chart)), 1, "pod default/operand, image registry.example/hidden:7: neither this bundle nor one before it has it")
	})
	// What a proof leaves that is killed, its folder and control groups, the next one takes down.
	for _, end := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGKILL, -1}, {syscall.SIGINT, 5}} {
		t.Run(end.signal.String(), func(t *testing.T) {
			cmd := build("cut", "1.0.0", provable)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				if strings.Contains(lines.Text(), "] node: ") { // pods are about to start
					if err := cmd.Process.Signal(end.signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != end.code {
				t.Errorf("exit code %d, want %d", cmd.ProcessState.ExitCode(), end.code)
			}
		})
	}
}

// failed wants a command to end with the exit code, and its standard error to have all the texts.
func failed(t *testing.T, cmd *exec.Cmd, code int, texts ...string) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("%v, want exit code %d", err, code)
	}
	for _, text := range texts {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("no %q in\n%s", text, stderr.String())
		}
	}
}

// traces are what a proof could leave on this machine: files, mounts, interfaces, control groups and processes that say so.
func traces(t *testing.T) []string {
	t.Helper()
	return strings.Split(host(t, "sh", "-c", `ls -d /var/tmp/airgap-proof-* 2>/dev/null; cut -d' ' -f5 /proc/self/mountinfo; ls /sys/class/net; ls /run/netns 2>/dev/null
		find /sys/fs/cgroup -maxdepth 2 -name 'airgap-*'; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -a 'airgap-proo[f]-' || true`), "\n")
}
