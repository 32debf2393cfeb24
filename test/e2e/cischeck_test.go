package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// cisNode is a running node that is asked for the controls of the CIS benchmark.
type cisNode struct {
	*node
	flags   map[string]string // of the control plane, from /flagz
	kubelet map[string]any    // its configuration, from configz
	image   string
}

func newCISNode(t *testing.T, s *node) *cisNode {
	t.Helper()
	n := &cisNode{node: s, image: busyboxImage(t)}
	tls := filepath.Join(s.Paths.DataDir, "server/tls")
	shown, err := n.inside("curl", "-sS", "--cacert", tls+"/ca-bundle.crt", "--cert", tls+"/supervisor.crt", "--key", tls+"/supervisor.key",
		"-H", "Accept: application/json;as=Flagz;v=v1beta1;g=config.k8s.io", "https://127.0.0.1:6443/flagz")
	var flagz struct{ Flags map[string]string }
	if err := errors.Join(err, json.Unmarshal([]byte(shown), &flagz)); err != nil || len(flagz.Flags) < 100 {
		t.Fatalf("/flagz shows %d flags, %v: %s", len(flagz.Flags), err, shown)
	}
	n.flags = flagz.Flags
	var answer struct {
		KubeletConfig map[string]any `json:"kubeletconfig"`
	}
	if err := json.Unmarshal([]byte(s.Kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/configz")), &answer); err != nil {
		t.Fatal(err)
	}
	n.kubelet = answer.KubeletConfig
	return n
}

// holds returns nil if the check, its kind and its arguments, holds on the node.
func (n *cisNode) holds(check string) error {
	kind, rest, _ := strings.Cut(check, " ")
	args := strings.Fields(rest)
	switch kind {
	case "mode":
		return n.mode(args[0], args[1:])
	case "owner":
		return n.owner(args)
	case "flag":
		return compare(n.flags[args[0]], args[1:])
	case "kubelet":
		return compare(n.kubeletValue(args[0]), args[1:])
	case "anonymous":
		return n.anonymous(args[0], args[1])
	case "closed":
		return n.listens(args[0], nil)
	case "loopback":
		return n.listens(args[0], []string{"127.0.0.1", "[::1]"})
	case "tls":
		return n.tls(args[0])
	case "cannot":
		return n.cannot(args)
	case "pod":
		return n.refusesPod(args[0])
	case "encrypted":
		return n.Command("secrets-encrypt", "status", "--data-dir", n.Paths.DataDir).Run()
	case "certificates":
		return n.Command("certificate", "check", "--data-dir", n.Paths.DataDir).Run()
	case "audit":
		return n.audits()
	}
	return fmt.Errorf("no such check: %s", check)
}

// compare holds a value against "is X", "has X", "lacks X" or "set".
func compare(value string, how []string) error {
	items := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune("[], ", r) })
	want := ""
	if len(how) > 1 {
		want = how[1]
	}
	has := slices.ContainsFunc(items, func(item string) bool {
		return item == want || strings.HasSuffix(want, "//") && strings.HasPrefix(item, want)
	})
	ok := map[string]bool{"is": value == want, "set": value != "", "has": has, "lacks": !has}[how[0]]
	if !ok {
		return fmt.Errorf("it is %q, want it: %s", value, strings.Join(how, " "))
	}
	return nil
}

func (n *cisNode) kubeletValue(path string) string {
	var value any = n.kubelet
	for key := range strings.SplitSeq(path, ".") {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	if number, ok := value.(float64); ok {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// each visits the files that the patterns name; every pattern must name one.
func (n *cisNode) each(patterns []string, visit func(path string, info fs.FileInfo) error) error {
	var errs []error
	for _, pattern := range patterns {
		path, inRun := strings.CutPrefix(pattern, "RUN/")
		if path = filepath.Join(n.Paths.DataDir, path); inRun {
			path = filepath.Join(n.Paths.Run(), strings.TrimPrefix(pattern, "RUN/"))
		}
		matches, err := filepath.Glob(path)
		if err != nil || len(matches) == 0 {
			errs = append(errs, fmt.Errorf("there is no %s", path), err)
		}
		for _, match := range matches {
			info, err := os.Stat(match)
			if err == nil {
				err = visit(match, info)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (n *cisNode) mode(limit string, patterns []string) error {
	most, err := strconv.ParseUint(limit, 8, 32)
	if err != nil {
		return err
	}
	return n.each(patterns, func(path string, info fs.FileInfo) error {
		if extra := info.Mode().Perm() &^ fs.FileMode(most); extra != 0 {
			return fmt.Errorf("%s has mode %o, want at most %s", path, info.Mode().Perm(), limit)
		}
		return nil
	})
}

func (n *cisNode) owner(patterns []string) error {
	return n.each(patterns, func(path string, info fs.FileInfo) error {
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 0 || stat.Gid != 0 {
			return fmt.Errorf("%s is owned by %d:%d", path, stat.Uid, stat.Gid)
		}
		return nil
	})
}

// inside runs a command in the node's network namespace.
func (n *cisNode) inside(args ...string) (string, error) {
	out, err := n.Inside(args[0], args[1:]...).CombinedOutput()
	return string(out), err
}

func (n *cisNode) anonymous(path, code string) error {
	out, err := n.inside("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://127.0.0.1:6443"+path)
	if err != nil || out != code {
		return fmt.Errorf("the answer is %s, want %s: %w", out, code, err)
	}
	return nil
}

// listens wants nobody on the port but on the allowed addresses.
func (n *cisNode) listens(port string, allowed []string) error {
	out, err := n.inside("ss", "-Hltn", "sport = :"+port)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		address := strings.TrimSuffix(fields[3], ":"+port)
		if !slices.Contains(allowed, address) {
			return fmt.Errorf("it listens on %s", fields[3])
		}
	}
	return nil
}

// tls wants a port to shake hands in none of the weak ways, and in the good ones.
func (n *cisNode) tls(port string) error {
	shake := func(options ...string) error {
		_, err := n.inside(append([]string{"timeout", "10", "openssl", "s_client", "-connect", "127.0.0.1:" + port}, options...)...)
		return err
	}
	for _, weak := range [][]string{
		{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"}, {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"},
		{"-tls1_2", "-cipher", "AES128-GCM-SHA256"}, {"-tls1_2", "-cipher", "DES-CBC3-SHA"},
	} {
		if shake(weak...) == nil {
			return fmt.Errorf("port %s shakes hands by %s", port, strings.Join(weak, " "))
		}
	}
	for _, good := range [][]string{{"-tls1_3"}, {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"}, {"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}} {
		if err := shake(good...); err != nil {
			return fmt.Errorf("port %s does not shake hands by %s: %w", port, strings.Join(good, " "), err)
		}
	}
	return nil
}

// cannot is "VERB RESOURCE as GROUP".
func (n *cisNode) cannot(args []string) error {
	resource, subresource, _ := strings.Cut(args[1], "/")
	out, err := n.Command("kubectl", "auth", "can-i", args[0], resource, "--subresource="+subresource, "--all-namespaces",
		"--as=somebody", "--as-group="+args[3]).Output()
	if strings.TrimSpace(string(out)) != "no" {
		return fmt.Errorf("the authorizer says %q, %w", out, err)
	}
	return nil
}

// badPods are what makes a pod break the Pod Security standard "restricted", as a patch of one that does not:
// of the container's securityContext, or of what is named.
var badPods = map[string]func(spec, container, context object){
	"privileged": func(_, _, context object) {
		context["privileged"] = true
		delete(context, "allowPrivilegeEscalation") // privileged containers can
	},
	"escalation": func(_, _, context object) { context["allowPrivilegeEscalation"] = true },
	"root":       func(_, _, context object) { context["runAsUser"] = 0; context["runAsNonRoot"] = false },
	"NET_RAW": func(_, _, context object) {
		context["capabilities"] = object{"add": []string{"NET_RAW"}, "drop": []string{"ALL"}}
	},
	"SYS_ADMIN": func(_, _, context object) {
		context["capabilities"] = object{"add": []string{"SYS_ADMIN"}, "drop": []string{"ALL"}}
	},
	"hostProcess": func(spec, _, context object) {
		context["windowsOptions"] = object{"hostProcess": true}
		spec["hostNetwork"] = true
	},
	"hostPort":    func(_, container, _ object) { container["ports"] = []object{{"containerPort": 80, "hostPort": 8089}} },
	"hostPID":     func(spec, _, _ object) { spec["hostPID"] = true },
	"hostIPC":     func(spec, _, _ object) { spec["hostIPC"] = true },
	"hostNetwork": func(spec, _, _ object) { spec["hostNetwork"] = true },
	"hostPath": func(spec, _, _ object) {
		spec["volumes"] = []object{{"name": "etc", "hostPath": object{"path": "/etc"}}}
	},
}

type object = map[string]any

// tryPod asks for a restricted pod, spoilt, in the default namespace. The request is a dry run.
func (n *cisNode) tryPod(spoil func(spec, container, context object)) (string, error) {
	context := object{"allowPrivilegeEscalation": false, "capabilities": object{"drop": []string{"ALL"}}, "runAsUser": 1000}
	container := object{"name": "try", "image": n.image, "securityContext": context}
	spec := object{
		"securityContext": object{"runAsNonRoot": true, "seccompProfile": object{"type": "RuntimeDefault"}},
		"containers":      []object{container},
	}
	if spoil != nil {
		spoil(spec, container, context)
	}
	pod, err := json.Marshal(object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "try", "namespace": "default"}, "spec": spec})
	if err != nil {
		return "", err
	}
	cmd := n.Command("kubectl", "create", "--dry-run=server", "-f", "-")
	cmd.Stdin = strings.NewReader(string(pod))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// refusesPod wants Pod Security to refuse a pod of this kind, and to accept the same without what is wrong with it.
func (n *cisNode) refusesPod(kind string) error {
	spoil, known := badPods[kind]
	if !known {
		return fmt.Errorf("no such pod: %s", kind)
	}
	if out, err := n.tryPod(nil); err != nil {
		return fmt.Errorf("a good pod is refused: %s", out)
	}
	if out, err := n.tryPod(spoil); err == nil || !strings.Contains(out, "PodSecurity") {
		return fmt.Errorf("a pod with %s is not refused by Pod Security: %s", kind, out)
	}
	return nil
}

// audits wants the log to tell of a secret that is made, and not what is in it.
func (n *cisNode) audits() error {
	const name, word = "audited", "turbot-in-aspic"
	defer func() { _ = n.Command("kubectl", "delete", "secret", name, "--ignore-not-found").Run() }()
	if out, err := n.Command("kubectl", "create", "secret", "generic", name, "--from-literal=word="+word).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(n.Paths.DataDir, "server/logs/audit.log"))
	if err != nil {
		return err
	}
	log := string(data)
	switch {
	case !strings.Contains(log, `"name":"`+name+`"`):
		return errors.New("the log does not tell of a new secret")
	case strings.Contains(log, word) || strings.Contains(log, "dHVyYm90LWluLWFzcGlj"): // and in base64
		return errors.New("the log holds a secret")
	}
	return n.mode("0600", []string{"server/logs/audit.log"})
}
