package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sysctls makes a folder like /proc/sys.
func sysctls(t *testing.T, values map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, value := range values {
		file := filepath.Join(root, strings.ReplaceAll(name, ".", "/"))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

var wrong = map[string]string{
	"net.ipv4.ip_forward": "0", "vm.overcommit_memory": "0", "vm.panic_on_oom": "0", "kernel.panic": "0",
	"kernel.panic_on_oops": "0", "kernel.keys.root_maxkeys": "1000000", "kernel.keys.root_maxbytes": "25000000",
}

func TestApplySets(t *testing.T) {
	root := sysctls(t, wrong)
	if err := Apply(root, Settings, false); err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings {
		data, err := os.ReadFile(filepath.Join(root, strings.ReplaceAll(s.Name, ".", "/")))
		if err == nil && strings.TrimSpace(string(data)) != s.Value {
			t.Errorf("%s is %s, want %s", s.Name, data, s.Value)
		}
	}
}

func TestProtectedSettingsAreNamedAndLeftAlone(t *testing.T) {
	root := sysctls(t, wrong)
	err := Apply(root, Settings, true)
	if err == nil {
		t.Fatal("wrong settings were accepted")
	}
	for _, want := range []string{"vm.overcommit_memory is 0, want 1", "kernel.panic is 0, want 10", "kernel.panic_on_oops is 0, want 1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != 3 {
		t.Errorf("%d complaints, want 3:\n%v", lines, err)
	}
	for name, want := range map[string]string{"vm.overcommit_memory": "0\n", "net.ipv4.ip_forward": "1"} {
		if data, _ := os.ReadFile(filepath.Join(root, strings.ReplaceAll(name, ".", "/"))); !strings.HasPrefix(string(data), want) {
			t.Errorf("%s is %q, want %q", name, data, want)
		}
	}
}

func TestWrongChangesNothing(t *testing.T) {
	root := sysctls(t, wrong)
	if list := Wrong(root, Settings); len(list) != 3 {
		t.Errorf("%d are wrong, want 3: %v", len(list), list)
	}
	for name, want := range wrong {
		if data, _ := os.ReadFile(filepath.Join(root, strings.ReplaceAll(name, ".", "/"))); strings.TrimSpace(string(data)) != want {
			t.Errorf("%s was changed to %s", name, data)
		}
	}
}

func TestAMissingSettingIsReported(t *testing.T) {
	root := sysctls(t, map[string]string{"net.ipv4.ip_forward": "1"})
	err := Apply(root, Settings, false)
	if err == nil || !strings.Contains(err.Error(), "kernel.panic_on_oops") || strings.Contains(err.Error(), "bridge-nf") {
		t.Errorf("got %v", err)
	}
}
