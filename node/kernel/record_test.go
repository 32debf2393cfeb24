package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a node has changed is put back, as it was before the first of its starts; what somebody changed since stays.
func TestRecordAndRestore(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(t.TempDir(), "agent", "settings.json")
	settings := []Setting{{Name: "a.b", Value: "1"}, {Name: "c", Value: "2"}, {Name: "d", Value: "3"}, {Name: "gone", Value: "4", Optional: true}}
	write := func(name, value string) {
		t.Helper()
		path := Setting{Name: name}.file(root)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(value+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("a.b", "0")
	write("c", "2")
	write("d", "7")
	for range 2 { // two starts
		if err := errors.Join(Record(root, settings, file), Apply(root, settings, false)); err != nil {
			t.Fatal(err)
		}
	}
	write("d", "9")
	names, err := Restore(root, settings, file)
	if err != nil || !slices.Equal(names, []string{"a.b"}) {
		t.Errorf("restored %q, %v", names, err)
	}
	for name, want := range map[string]string{"a.b": "0", "c": "2", "d": "9\n"} {
		if got, err := os.ReadFile(Setting{Name: name}.file(root)); string(got) != want && string(got) != want+"\n" {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestNothingRecorded(t *testing.T) {
	if names, err := Restore(t.TempDir(), Settings, filepath.Join(t.TempDir(), "none")); len(names) > 0 || err != nil {
		t.Errorf("restored %q, %v", names, err)
	}
}
