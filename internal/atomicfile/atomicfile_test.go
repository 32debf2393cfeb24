package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWriteReplacesContentAndMode(t *testing.T) {
	// A umask that would hide the difference between the mode asked for and the one made.
	defer syscall.Umask(syscall.Umask(0o077))
	path := filepath.Join(t.TempDir(), "status")
	for _, want := range []struct {
		content string
		mode    fs.FileMode
	}{{"a long first version", 0o600}, {"short", 0o644}, {"", 0o755}} {
		if err := Write(path, []byte(want.content), want.mode); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want.content {
			t.Errorf("content %q, %v; want %q", got, err, want.content)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want.mode {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, want.mode)
		}
	}
	assertNames(t, filepath.Dir(path), "status")
}

func TestFailureLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	// A folder cannot be replaced by a file: the rename, the last step that can fail, does.
	target := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(target, "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(target, []byte("x"), 0o644); err == nil {
		t.Fatal("a folder was replaced by a file")
	}
	assertNames(t, dir, "folder")
	assertNames(t, target, "inside")
}

func assertNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}

func TestLinkReplacesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "current")
	if err := os.WriteFile(path, []byte("a file before there were links"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What a power cut between making the link and renaming it leaves.
	if err := os.Symlink("half", path+".new"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		if err := Link(want, path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(path); err != nil || got != want {
			t.Errorf("the link says %q, %v; want %q", got, err, want)
		}
	}
	assertNames(t, dir, "current")
}
