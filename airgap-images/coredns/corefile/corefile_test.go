package corefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/whoami"
)

// The test program is its own trial, as the real one is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Trial {
		RunTrial(os.Args[2], os.Stdin)
	}
	os.Exit(m.Run())
}

const base = `.:5353 {
    hosts /nowhere/NodeHosts {
        fallthrough
    }
    import DIR/*.override
    whoami
}
import DIR/*.server
`

// folder makes a Corefile and files that it imports, and a loader that tries them with CoreDNS.
func folder(t *testing.T, base string, files map[string]string) (dir string, l *Loader, told map[string]string) {
	t.Helper()
	dir = t.TempDir()
	files["Corefile"] = strings.ReplaceAll(base, "DIR", dir)
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	told = map[string]string{}
	return dir, &Loader{Path: filepath.Join(dir, "Corefile"), Try: InOwnProcess(executable), Tell: func(file string, why error) {
		told[filepath.Base(file)] += why.Error()
	}}, told
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, l *Loader) string {
	t.Helper()
	input, err := l.Load("dns")
	if err != nil {
		t.Fatal(err)
	}
	return string(input.Body())
}

func TestBadImportsAreLeftOut(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want string // part of what is told; "": it is used
	}{
		"good.override":     {"bind 127.0.0.1", ""},
		"good.server":       {"example.org:5353 {\n whoami\n}", ""},
		"empty.override":    {"", ""},
		"unknown.override":  {"no-such-plugin", "no-such-plugin"},
		"brace.override":    {"}", "brace.override"},
		"argument.override": {"bind not/an/address", "not/an/address"},
		"twice.override":    {"hosts {\n 10.0.0.9 printer\n}", "hosts"},
		"again.server":      {".:5353 {\n whoami\n}", "already defined"},
		"open.server":       {"example.com:5353 {", "open.server"},
		"text.server":       {"hello\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, l, told := folder(t, base, map[string]string{name: test.text, "a.server": "example.net:5353 {\n whoami\n}"})
			got := load(t, l)
			if !strings.Contains(got, "import "+dir+"/a.server\n") {
				t.Errorf("a good file is left out:\n%s\ntold: %v", got, told)
			}
			bad := test.want != "" || told[name] != ""
			if strings.Contains(got, "import "+dir+"/"+name) == bad {
				t.Errorf("told %q, and loaded is\n%s", told[name], got)
			}
			if !strings.Contains(told[name], test.want) || told["a.server"] != "" {
				t.Errorf("told %v, want %q", told, test.want)
			}
			// Whatever the file is: CoreDNS starts with what is loaded.
			if err := l.Try(l.Path, []byte(got)); err != nil {
				t.Errorf("CoreDNS would not start: %v", err)
			}
		})
	}
}

func TestLoadFollowsTheFiles(t *testing.T) {
	dir, l, told := folder(t, base, map[string]string{})
	tries := 0
	real := l.Try
	l.Try = func(path string, text []byte) error { tries++; return real(path, text) }
	without := load(t, l)
	if load(t, l); tries != 1 {
		t.Errorf("%d trials of the same files", tries)
	}
	file := filepath.Join(dir, "site.override")
	write(t, file, "bind 127.0.0.1")
	with := load(t, l)
	if !strings.Contains(with, "    import "+file+"\n") {
		t.Errorf("a new file is not loaded:\n%s", with)
	}
	write(t, file, "bnid 127.0.0.1")
	if got := load(t, l); got != without || !strings.Contains(told["site.override"], "bnid") {
		t.Errorf("told %v, loaded\n%s", told, got)
	}
	write(t, file, "bind 127.0.0.2")
	if got := load(t, l); got != with {
		t.Errorf("a mended file is not loaded:\n%s", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := load(t, l); got != without {
		t.Errorf("a removed file is still loaded:\n%s", got)
	}
}

// A Corefile that is bad by itself is not the imported files' fault.
func TestBadCorefile(t *testing.T) {
	_, l, told := folder(t, "nonsense {\n no-such-plugin\n import DIR/*.override\n}\n", map[string]string{"site.override": "whoami"})
	if got := load(t, l); !strings.Contains(got, "site.override") || len(told) != 0 {
		t.Errorf("told %v, loaded\n%s", told, got)
	}
	l.Path += ".missing"
	if _, err := l.Load("dns"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing Corefile: %v", err)
	}
}
