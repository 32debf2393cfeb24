package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"airgap/signing"
)

// partsOf returns the names in a folder, and their contents one after the other.
func partsOf(t *testing.T, dir string) (names []string, joined []byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
		joined = append(joined, mustRead(t, filepath.Join(dir, entry.Name()))...)
	}
	return names, joined
}

func TestPartsAreTheTarCut(t *testing.T) {
	key, _ := signer(t, siteKey)
	content := testContent(t, 5000)
	options := CreateOptions{Signers: []*signing.PrivateKey{key}}
	want := mustRead(t, create(t, content, options))
	dir := t.TempDir()
	output := filepath.Join(dir, "site.airgap")
	for _, size := range []int64{3000, 10000, 1 << 30} { // fewer parts each time: those left over go
		options.PartBytes = size
		if _, err := Create(context.Background(), output, content, options); err != nil {
			t.Fatal(err)
		}
		names, joined := partsOf(t, dir)
		if !bytes.Equal(joined, want) {
			t.Errorf("parts of %d bytes, joined, are not the tar", size)
		}
		if count := PartCount(int64(len(want)), size); len(names) != count || names[count-1] != PartName("site.airgap", count) {
			t.Errorf("parts of %d bytes: %v", size, names)
		}
	}
	options.PartBytes = 10
	if _, err := Create(context.Background(), output, content, options); err == nil || !strings.Contains(err.Error(), "make them larger") {
		t.Errorf("too many parts: %v", err)
	}
	if names, joined := partsOf(t, dir); len(names) != 1 || !bytes.Equal(joined, want) {
		t.Errorf("what was there is no longer: %v", names)
	}
}

// TestCopy takes a bundle through all its forms: what comes out is what went in.
func TestCopy(t *testing.T) {
	key, policy := signer(t, siteKey)
	first := create(t, testContent(t, 2<<20), CreateOptions{Signers: []*signing.PrivateKey{key}})
	want := mustRead(t, first)
	copyTo := func(from, to string, o CopyOptions) error {
		t.Helper()
		r, err := Open(from, policy)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return Copy(context.Background(), r, to, o)
	}
	dir := t.TempDir()
	folder, again, parted := filepath.Join(dir, "folder"), filepath.Join(dir, "again.airgap"), filepath.Join(dir, "parts", "p")
	if err := errors.Join(os.Mkdir(filepath.Dir(parted), 0o755),
		copyTo(first, folder, CopyOptions{Directory: true}), copyTo(folder, again, CopyOptions{}), copyTo(folder, parted, CopyOptions{PartBytes: 1 << 20})); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mustRead(t, again), want) {
		t.Error("by way of a folder it is another tar")
	}
	if names, joined := partsOf(t, filepath.Dir(parted)); !bytes.Equal(joined, want) || len(names) < 4 {
		t.Errorf("by way of a folder, parts are of another tar: %v", names)
	}

	bad := filepath.Join(dir, "bad.airgap")
	want[len(want)-2000] ^= 1
	if err := os.WriteFile(bad, want, 0o644); err != nil {
		t.Fatal(err)
	}
	before, _ := partsOf(t, filepath.Dir(parted))
	if err := copyTo(bad, parted, CopyOptions{PartBytes: 2 << 20}); !errors.Is(err, ErrDigest) {
		t.Errorf("a damaged bundle was copied: %v", err)
	}
	if after, _ := partsOf(t, filepath.Dir(parted)); !slices.Equal(before, after) {
		t.Errorf("a failed copy left %v", after)
	}
}

// TestFolderAgain builds into a folder that has another version: what is the same stays the same file.
func TestFolderAgain(t *testing.T) {
	key, policy := signer(t, siteKey)
	options := CreateOptions{Directory: true, Signers: []*signing.PrivateKey{key}}
	dir := filepath.Join(t.TempDir(), "site")
	build := func(c Content) error {
		_, err := Create(context.Background(), dir, c, options)
		return err
	}
	stat := func() map[string]os.FileInfo {
		infos := map[string]os.FileInfo{}
		if err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				infos[strings.TrimPrefix(name, dir+"/")] = info
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return infos
	}
	content := testContent(t, 4000)
	if err := build(content); err != nil {
		t.Fatal(err)
	}
	before := stat()

	if err := build(content); err != nil {
		t.Fatal(err)
	}
	for name, info := range stat() {
		if !os.SameFile(before[name], info) {
			t.Errorf("the same bundle again: %s is another file", name)
		}
	}

	// A base layer whose source must not be asked again, a damaged layer, and a blob that goes.
	damaged := entryOfBlob(content.Blobs[len(content.Blobs)-1]).Path
	if err := os.WriteFile(filepath.Join(dir, damaged), bytes.Repeat([]byte{'x'}, int(content.Blobs[len(content.Blobs)-1].Size)), 0o644); err != nil {
		t.Fatal(err)
	}
	content.Manifest.Version = "1.5.0"
	opened := 0
	for i, b := range content.Blobs {
		if b.Role != RoleLayer {
			continue
		}
		content.Blobs[i].Open = func(ctx context.Context) (io.ReadCloser, error) { opened++; return b.Open(ctx) }
	}
	if err := build(content); err != nil {
		t.Fatal(err)
	}
	if opened != 0 {
		t.Errorf("%d layers were fetched that were there", opened)
	}
	changed := []string{}
	for name, info := range stat() {
		if !os.SameFile(before[name], info) {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	want := []string{"airgap.json", "airgap.json.sig", "airgap.json.sigstore.json", damaged}
	if !slices.Equal(changed, want) {
		t.Errorf("other files: %v, want %v", changed, want)
	}
	if err := build(tinyContent(t)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Verify(context.Background(), dir, policy, nil); err != nil {
		t.Errorf("what the first bundle alone had is still there: %v", err)
	}

	// A folder of something else is not touched.
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := build(content); err == nil || !strings.Contains(err.Error(), `"letter.txt"`) {
		t.Errorf("a folder with a letter in it: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestFAT(t *testing.T) {
	for _, test := range []struct {
		magic, size int64
		want        error
	}{
		{unix.MSDOS_SUPER_MAGIC, 1<<32 - 1, nil},
		{unix.MSDOS_SUPER_MAGIC, 1 << 32, ErrFileTooLarge},
		{unix.EXT4_SUPER_MAGIC, 1 << 40, nil},
	} {
		if err := checkLargest(test.magic, test.size); !errors.Is(err, test.want) {
			t.Errorf("%x, %d bytes: %v", test.magic, test.size, err)
		}
	}
}
