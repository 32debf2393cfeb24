package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/node/config"
)

// planted are secrets as they lie on a node, by what they are.
var planted = map[string]string{
	"join token":       "K10" + strings.Repeat("ab12", 16) + "::server:planted-server-password",
	"bootstrap token":  "abc123.planted0planted0",
	"store password":   "planted/p@ss word",
	"registry":         "planted-Rq8zK3-hunter2",
	"registry auth":    base64.StdEncoding.EncodeToString([]byte("reader:planted-basic")),
	"encryption key":   base64.StdEncoding.EncodeToString([]byte("planted 32 bytes of an AES key..")),
	"private key":      "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPlantedPlantedPlantedPlantedPlantedPlantedPlan\nPlantedSecondLineOfTheKeyPlantedSecondLineOfTheKeyPl==\n-----END EC PRIVATE KEY-----",
	"WireGuard key":    "plantedWireGuardPrivateKeyWithFortyFourChar=",
	"node password":    "plantednodepassword0123456789abcdef",
	"application's":    "planted-by-an-application",
	"web token":        "eyJhbGciOiJSUzI1NiIsImtpZCI6In.eyJpc3MiOiJrdWJlcm5ldGVzL3BsYW50ZWQ.c2lnbmF0dXJlLXBsYW50ZWQ",
	"component's flag": "planted-Zx81Lw-hunter3",
}

// plant makes a data folder with the secrets in their files, and in logs, events and the journal of installs.
func plant(t *testing.T) config.Paths {
	t.Helper()
	dir := t.TempDir()
	p := config.PathsOf(dir)
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(p.Server(), "token"), planted["join token"]+"\n")
	write(filepath.Join(p.TLS(), "server-ca.key"), planted["private key"]+"\n")
	write(filepath.Join(p.AgentPKI(), "node-password"), planted["node password"]+"\n")
	write(p.WireGuardKey(), planted["WireGuard key"]+"\n")
	write(filepath.Join(p.Cred(), "encryption-config.json"), `{"resources":[{"providers":[{"aescbc":{"keys":[{"name":"k","secret":"`+planted["encryption key"]+`"}]}}]}]}`)
	write(p.ConfigFile(), "node-name: site-node\nagent-token: "+planted["bootstrap token"]+"\nkube-apiserver-arg: [oidc-client-secret="+planted["component's flag"]+"]\n")
	write(filepath.Join(p.ConfigFile()+".d", "10.yaml"), "datastore-endpoint: postgres://user:planted%2Fp%40ss%20word@db.site/k8s\n")
	write(p.PrivateRegistry(), "configs:\n  registry.site:\n    auth: {username: reader, password: "+planted["registry"]+"}\n  other.site:\n    auth: {auth: "+planted["registry auth"]+"}\n")
	var everything strings.Builder
	for _, secret := range planted {
		everything.WriteString("a line with " + secret + " in it\n")
		everything.WriteString("data: " + base64.StdEncoding.EncodeToString([]byte(secret)) + "\n")
		everything.WriteString("https://user:" + "planted%2Fp%40ss%20word" + "@db.site/ and Authorization: Bearer planted-bearer\n")
	}
	everything.WriteString("MiddleOfAKeyThatACutHasLeftPlanted\n-----END RSA PRIVATE KEY-----\nthe node is well\n")
	write(p.Log(), everything.String())
	write(filepath.Join(p.PodLogs(), "ns_pod_uid", "c", "0.log"), everything.String())
	write(filepath.Join(p.Install(), "journal"), everything.String())
	write(filepath.Join(p.Install(), "reports", "1.json"), `{"bundle":"site"}`)
	return p
}

// spokesman is an executable in place of airgap: it prints the log with its secrets for each verb, and the
// cluster's Secrets as JSON.
func spokesman(t *testing.T, p config.Paths) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "airgap")
	script := `#!/bin/sh
case "$*" in *"get secrets"*) echo '{"items":[{"data":{"password":"` + base64.StdEncoding.EncodeToString([]byte(planted["application's"])) + `"}}]}';;
*) cat ` + p.Log() + `;; esac
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpack returns the archive's files by their names, and the name of the first.
func unpack(t *testing.T, r io.Reader) (files map[string]string, first string) {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for archive := tar.NewReader(z); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return files, first
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		if first == "" {
			first = name
		}
		files[name] = string(data)
	}
}

func TestNoSecretIsInIt(t *testing.T) {
	p := plant(t)
	var out bytes.Buffer
	_, err := Write(context.Background(), Options{DataDir: p.DataDir, Executable: spokesman(t, p), Output: "-", Stdout: &out, Now: time.Now(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	files, first := unpack(t, &out)
	if first != "index.txt" || !strings.Contains(files["index.txt"], "logs/kernel.txt") {
		t.Errorf("the first file is %q:\n%s", first, files["index.txt"])
	}
	for _, name := range []string{"status.txt", "config/files/config.yaml", "config/files/config.yaml.d/10.yaml", "config/files/registries.yaml", "logs/node/airgap.log",
		"logs/pods/ns_pod_uid/c/0.log", "install/journal", "install/reports/1.json", "machine/disks.txt", "network/addresses.txt", "cluster/events.txt", "notes.txt"} {
		if files[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	if !strings.Contains(files["config/files/config.yaml"], "node-name: site-node") || !strings.Contains(files["logs/node/airgap.log"], "the node is well") {
		t.Errorf("what is no secret is gone:\n%s\n%s", files["config/files/config.yaml"], files["logs/node/airgap.log"])
	}
	for name, text := range files {
		for what, secret := range planted {
			for form, value := range map[string]string{
				"as it is": secret, "in base64": base64.StdEncoding.EncodeToString([]byte(secret)), "a part": secret[len(secret)/3 : len(secret)*2/3],
			} {
				if strings.Contains(text, value) {
					t.Errorf("%s has the %s, %s", name, what, form)
				}
			}
		}
		for _, trace := range []string{"planted", "Planted", "p%40ss"} {
			if i := strings.Index(text, trace); i >= 0 {
				t.Errorf("%s: …%q…", name, text[max(0, i-40):min(len(text), i+40)])
			}
		}
	}
}

// Nothing of a node is there, its executable cannot be run: the machine can still be told of.
func TestWithoutANode(t *testing.T) {
	folder := t.TempDir()
	result, err := Write(context.Background(), Options{DataDir: filepath.Join(folder, "none"), Executable: "/nonexistent/airgap", Output: folder, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(result.File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, _ := unpack(t, f)
	if !strings.Contains(files["machine/system.txt"], "MemTotal") || !strings.Contains(files["notes.txt"], "status.txt: this machine has no /nonexistent/airgap") {
		t.Errorf("notes:\n%s", files["notes.txt"])
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 || info.Size() != result.Bytes {
		t.Errorf("%v, %v", info, err)
	}
}

func TestHangingCommandsAreBounded(t *testing.T) {
	script := filepath.Join(t.TempDir(), "airgap")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nsleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var out bytes.Buffer
	if _, err := Write(context.Background(), Options{DataDir: t.TempDir(), Executable: script, Output: "-", Stdout: &out, Now: time.Now(), Timeout: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	files, _ := unpack(t, &out)
	if !strings.Contains(files["notes.txt"], "left out, the time was up") {
		t.Errorf("notes:\n%s", files["notes.txt"])
	}
}

// TestFullDisk writes to a file system that is too small, in a mount namespace of its own.
func TestFullDisk(t *testing.T) {
	if os.Getenv("SUPPORT_TEST_DIR") != "" {
		_, err := Write(context.Background(), Options{DataDir: t.TempDir(), Executable: "/nonexistent", Output: os.Getenv("SUPPORT_TEST_DIR"), Now: time.Now()})
		left, _ := filepath.Glob(os.Getenv("SUPPORT_TEST_DIR") + "/*")
		t.Logf("ENOSPC %v left %v: %v", errors.Is(err, syscall.ENOSPC), left, err)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", `mount -t tmpfs -o size=4k tmpfs "$SUPPORT_TEST_DIR" && exec "$0" -test.run=TestFullDisk -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "SUPPORT_TEST_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ENOSPC true left []") || !strings.Contains(string(out), "name another disk with --output") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTail(t *testing.T) {
	out := &tail{max: 100}
	for range 1000 {
		if _, err := io.WriteString(out, "0123456789\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.bytes(); len(got) > 100 || !out.cut || !bytes.HasPrefix(got, []byte("0123456789\n")) {
		t.Errorf("%q", got)
	}
}
