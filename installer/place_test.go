package installer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"airgap/node/config"
)

func noRecord(placed) error { return nil }

// A placement brings content and mode, changes nothing when repeated, and can be undone; so can one whose
// target was a link, or whose folders had to be made.
func TestPlaceAndUndo(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("file", "old")
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		place placement
		after string // of the target, when undone; empty: gone
	}{
		{"a file", placement{target: "file", mode: 0o600, data: []byte("new")}, "-rw-r----- old"},
		{"a new file in new folders", placement{target: "a/b/c", mode: 0o755, data: []byte("new")}, ""},
		{"a link in the place of a link", placement{target: "link", link: "elsewhere"}, "-> file"},
		{"a file in the place of a link", placement{target: "link", mode: 0o644, data: []byte("new")}, "-> file"},
		{"a link in the place of a file", placement{target: "file", link: "elsewhere"}, "-rw-r----- old"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.place.target = filepath.Join(dir, test.place.target)
			var undo placed
			changed, err := place(test.place, filepath.Join(dir, "backups"), func(p placed) error { undo = p; return nil })
			if err != nil || !changed {
				t.Fatalf("changed %v, %v", changed, err)
			}
			want := "-> " + test.place.link
			if test.place.link == "" {
				want = test.place.mode.String() + " new"
			}
			if got := describe(t, test.place.target); got != want {
				t.Errorf("placed %q, want %q", got, want)
			}
			if changed, err := place(test.place, filepath.Join(dir, "backups"), noRecord); changed || err != nil {
				t.Errorf("placed again: changed %v, %v", changed, err)
			}
			for range 2 {
				if err := undo.undo(); err != nil {
					t.Fatal(err)
				}
				if got := describe(t, test.place.target); got != test.after {
					t.Errorf("undone: %q, want %q", got, test.after)
				}
			}
			if _, err := os.Lstat(filepath.Join(dir, "a")); err == nil {
				t.Error("a folder is left")
			}
		})
	}
}

func describe(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	if to, err := os.Readlink(path); err == nil {
		return "-> " + to
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().String() + " " + string(data)
}

// If the journal cannot be written, nothing is placed.
func TestPlaceNeedsItsRecord(t *testing.T) {
	target := filepath.Join(t.TempDir(), "a", "b")
	full := errors.New("no space left on device")
	if _, err := place(placement{target: target, data: []byte("x")}, t.TempDir(), func(placed) error { return full }); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Lstat(filepath.Dir(target)); err == nil {
		t.Error("a folder was made")
	}
}

// No symbolic link leads a bundle's file out of the folder that it may go to.
func TestPlaceStaysInRoot(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	for name, to := range map[string]string{"absolute": outside, "relative": "../" + filepath.Base(outside)} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		_, err := place(placement{root: root, target: filepath.Join(root, name, "x"), mode: 0o644, data: []byte("x")}, t.TempDir(), noRecord)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("written outside: %v", left)
	}
}

func TestTargetRoot(t *testing.T) {
	r := &run{paths: config.PathsOf("/var/lib/airgap"), Options: Options{targets: allowedTargets}}
	for target, want := range map[string]string{
		"/etc/site.conf":           "/etc",
		"/usr/local/bin/tool":      "/usr/local",
		"/var/lib/site/data":       "/var/lib",
		"/var/lib/airgap/trust/x":  "",
		"/etc":                     "",
		"/etcetera/x":              "",
		"/usr/bin/mount":           "",
		"/root/.ssh/authorized":    "",
		"/boot/grub/grub.cfg":      "",
		"/var/lib/airgap-site.cfg": "/var/lib",
	} {
		root, err := r.targetRoot(target)
		if root != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", target, root, err, want)
		}
	}
}
