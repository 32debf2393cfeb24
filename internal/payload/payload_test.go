package payload

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const launcher = "\x7fELF, as it were"

// tree is what the tests pack: every kind of entry, one of them incompressible and larger than any buffer.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	noise := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	write := func(name string, data []byte, mode fs.FileMode) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/airgap", noise, 0o700)
	write("bin/nft", []byte("#!/bin/sh\n"), 0o755)
	write("lib/libc.so.6", []byte(strings.Repeat("lib", 1000)), 0o600)
	if err := os.Symlink("../lib/libc.so.6", filepath.Join(root, "bin/libc")); err != nil {
		t.Fatal(err)
	}
	return root
}

func pack(t *testing.T, root string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Pack(&b, strings.NewReader(launcher), root, Zstd); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeExecutable(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "airgap")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// names lists the folder, with what is hidden.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestPackIsDeterministic(t *testing.T) {
	root := tree(t)
	first := pack(t, root)
	if err := os.Chtimes(filepath.Join(root, "bin/nft"), fixedTime, fixedTime); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "lib/libc.so.6"), 0o640); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, pack(t, root)) {
		t.Error("the same tree with other times and modes packs to other bytes")
	}
	if err := os.WriteFile(filepath.Join(root, "bin/nft"), []byte("#!/bin/no\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, pack(t, root)) {
		t.Error("another tree packs to the same bytes")
	}
}

func TestPackRefuses(t *testing.T) {
	for name, target := range map[string]string{"absolute link": "/etc/passwd", "leaving link": "../../secret"} {
		t.Run(name, func(t *testing.T) {
			root := tree(t)
			if err := os.Symlink(target, filepath.Join(root, "bin/out")); err != nil {
				t.Fatal(err)
			}
			_, err := Pack(io.Discard, strings.NewReader(launcher), root, Zstd)
			if err == nil || !strings.Contains(err.Error(), "bin/out") {
				t.Errorf("packed a link to %s: %v", target, err)
			}
		})
	}
}

func TestStage(t *testing.T) {
	root := tree(t)
	packed := pack(t, root)
	executable := writeExecutable(t, packed)
	versions := filepath.Join(t.TempDir(), "data")

	dir, err := Stage(executable, versions)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(executable)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if want := filepath.Join(versions, p.Digest()); dir != want {
		t.Errorf("staged in %s, want %s", dir, want)
	}
	for _, name := range []string{"bin/airgap", "bin/nft", "bin/libc", "lib/libc.so.6"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if want, _ := os.ReadFile(filepath.Join(root, name)); !bytes.Equal(got, want) {
			t.Errorf("%s differs", name)
		}
	}
	for name, want := range map[string]fs.FileMode{"bin/nft": 0o755, "bin/airgap": 0o755, "lib/libc.so.6": 0o644, "lib": 0o755, ".": 0o755, "airgap": 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "airgap")); err != nil || !bytes.Equal(got, packed) {
		t.Errorf("the staged executable is not the packed one (%v)", err)
	}
	if got := names(t, versions); len(got) != 2 { // the lock and the version
		t.Errorf("left beside the version: %v", got)
	}

	t.Run("again, from itself", func(t *testing.T) {
		again, err := Stage(filepath.Join(dir, "airgap"), versions)
		if err != nil || again != dir {
			t.Errorf("got %s, %v", again, err)
		}
	})
}

// TestStageAfterLauncher is what an install does: the launcher unpacked the same version
// for itself before, without keeping the executable.
func TestStageAfterLauncher(t *testing.T) {
	packed := pack(t, tree(t))
	executable := writeExecutable(t, packed)
	versions := t.TempDir()
	p, err := Open(executable)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dir, err := p.Ensure(versions, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "airgap")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the launcher kept the executable: %v", err)
	}
	if _, err := Stage(executable, versions); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "airgap")); err != nil || !bytes.Equal(got, packed) {
		t.Errorf("the staged executable is not the packed one (%v)", err)
	}
}

func TestDamage(t *testing.T) {
	packed := pack(t, tree(t))
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 0x10; return b }
	}
	end := len(packed)
	tests := map[string]struct {
		damage func([]byte) []byte
		want   error
	}{
		"launcher":                {flip(3), ErrDamaged},
		"payload's first byte":    {flip(len(launcher)), ErrDamaged},
		"payload's middle":        {flip(end / 2), ErrDamaged},
		"payload's last byte":     {flip(end - trailerBytes - 1), ErrDamaged},
		"digest":                  {flip(end - 1), ErrDamaged},
		"size":                    {flip(end - trailerBytes + 25), ErrDamaged},
		"reserved":                {flip(end - trailerBytes + 41), ErrDamaged},
		"magic":                   {flip(end - trailerBytes), ErrNoPayload},
		"last byte missing":       {func(b []byte) []byte { return b[:end-1] }, ErrNoPayload},
		"cut in the middle":       {func(b []byte) []byte { return b[:end/2] }, ErrNoPayload},
		"empty":                   {func(b []byte) []byte { return nil }, ErrNoPayload},
		"something appended":      {func(b []byte) []byte { return append(b, '\n') }, ErrNoPayload},
		"a part missing":          {func(b []byte) []byte { return append(b[:1000], b[2000:]...) }, ErrDamaged},
		"a bare launcher":         {func(b []byte) []byte { return b[:len(launcher)] }, ErrNoPayload},
		"a trailer of other size": {func(b []byte) []byte { return append(b[:end-trailerBytes], b[end-trailerBytes-5:]...) }, ErrDamaged},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			executable := writeExecutable(t, test.damage(bytes.Clone(packed)))
			versions := t.TempDir()
			_, err := Stage(executable, versions)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), executable) {
				t.Errorf("the error does not name the file: %v", err)
			}
			for _, left := range names(t, versions) {
				if left != lockName {
					t.Errorf("left behind: %s", left)
				}
			}
		})
	}
}

func TestUntrustedVersionIsRefused(t *testing.T) {
	executable := writeExecutable(t, pack(t, tree(t)))
	versions := t.TempDir()
	dir, err := Stage(executable, versions)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Stage(executable, versions); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder that everyone may write to was taken: %v", err)
	}
}

// FuzzTrailer holds that no trailer makes a reader look outside its file, and that what is accepted is
// exactly what a writer writes.
func FuzzTrailer(f *testing.F) {
	good := trailer{offset: 100, size: 1000, tarBytes: 5000}
	f.Add(good.encode(), int64(1100+trailerBytes))
	f.Add(good.encode(), int64(trailerBytes))
	f.Add(trailer{offset: -1, size: 1 << 62}.encode(), int64(1<<62))
	f.Add([]byte(magic), int64(16))
	f.Fuzz(func(t *testing.T, data []byte, fileBytes int64) {
		got, err := parseTrailer(data, fileBytes)
		if err != nil {
			return
		}
		if got.offset < 0 || got.size < 0 || got.offset+got.size+trailerBytes != fileBytes {
			t.Errorf("accepted a payload of %d bytes at %d in a file of %d", got.size, got.offset, fileBytes)
		}
		if !bytes.Equal(got.encode(), data) {
			t.Error("accepted a trailer that no writer writes")
		}
	})
}
