package bundle

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/signing"
)

// fill fills the spool with those layers of c that have room in it, and lets c read them from there alone.
func fill(t *testing.T, s *Spool, c *Content) {
	t.Helper()
	c.Blobs = slices.Clone(c.Blobs)
	for i, b := range c.Blobs {
		layer := s.Layer(b.Digest)
		if layer == nil || layer.complete {
			continue
		}
		for piece := range slices.Chunk(readBlob(t, b), 300) {
			if _, err := layer.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := layer.Close(); err != nil {
			t.Fatal(err)
		}
		c.Blobs[i].Open = layer.Open
	}
}

// A bundle has the same bytes with a spool as without, whether the spool becomes the bundle or not. Nothing else is left.
func TestSpool(t *testing.T) {
	key, policy := signer(t, siteKey)
	attest := func(c *Content) {
		if err := c.AddAttestations(t.Context(), []*signing.PrivateKey{key}, Predicate{SBOMType, strings.Repeat("x", 5000)}); err != nil {
			t.Fatal(err)
		}
	}
	base := testContent(t, 9000).Blobs[3]
	site := NewInventory([]BaseBundle{{"old", "1.0.0", base.Digest}}, []HeldBlob{{base.Digest, base.Size}})
	for _, disk := range []string{t.TempDir(), "/dev/shm"} { // the second cannot take a range out of a file
		for form, o := range map[string]CreateOptions{"file": {}, "parts": {PartBytes: 16 << 10}, "folder": {Directory: true}} {
			for what, since := range map[string]*Inventory{"whole": nil, "delta": site} {
				t.Run(disk+" "+form+" "+what, func(t *testing.T) {
					folder, err := os.MkdirTemp(disk, "spool")
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { os.RemoveAll(folder) })
					without, with := testContent(t, 9000), testContent(t, 9000)
					without.Since, with.Since, o.Signers = since, since, []*signing.PrivateKey{key}
					attest(&without)
					plain, output := filepath.Join(folder, "without"), filepath.Join(folder, "with")
					if _, err := Create(t.Context(), plain, without, o); err != nil {
						t.Fatal(err)
					}
					if o.Spool, err = NewSpool(output, with, o, func(string) bool { return form != "folder" }); err != nil {
						t.Fatal(err)
					}
					fill(t, o.Spool, &with)
					attest(&with)
					if _, err := Create(t.Context(), output, with, o); err != nil {
						t.Fatal(err)
					}
					able := form == "file" && collapsible(t, folder)
					if became := o.Spool.file == nil; became != able {
						t.Errorf("the spool became the bundle: %v, want %v", became, able)
					}
					if err := o.Spool.Close(); err != nil {
						t.Error(err)
					}
					compareFolders(t, folder)
					if form == "file" && since == nil {
						if _, _, err := Verify(t.Context(), output, policy, nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
	}
}

// compareFolders holds each file of folder whose name has "with" against the one with "without", and that there are no others.
func compareFolders(t *testing.T, folder string) {
	t.Helper()
	var files int
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		name, _ := filepath.Rel(folder, path)
		switch {
		case err != nil || entry.IsDir() || strings.HasPrefix(name, "without"):
			return err
		case !strings.HasPrefix(name, "with"):
			t.Errorf("left: %s", name)
			return nil
		}
		files++
		if string(mustRead(t, path)) != string(mustRead(t, filepath.Join(folder, "without"+strings.TrimPrefix(name, "with")))) {
			t.Errorf("%s differs", name)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files: %v", files, err)
	}
}

// collapsible reports whether the file system of folder can take a range out of a file.
func collapsible(t *testing.T, folder string) bool {
	t.Helper()
	file, err := os.CreateTemp(folder, "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	return canCollapse(file)
}

// The layers behind a statement begin at whole blocks, however long it is, and whoever signs.
func TestStatementsAlignLayers(t *testing.T) {
	key, _ := signer(t, siteKey)
	other, _ := signer(t, strangersKey)
	for size := 0; size < 12000; size += 1777 {
		for _, signers := range [][]*signing.PrivateKey{nil, {key}, {key, other}} {
			c := testContent(t, 100)
			err := c.AddAttestations(t.Context(), signers, Predicate{ProvenanceType, "p"}, Predicate{SBOMType, strings.Repeat("x", size)})
			if err != nil {
				t.Fatal(err)
			}
			p, err := newPlan(t.Context(), c, signers)
			if err != nil {
				t.Fatal(err)
			}
			if begin := p.layersBegin(); begin%layerAlignment != 0 {
				t.Errorf("a statement of %d bytes, %d signers: the layers begin at %d", size, len(signers), begin)
			}
		}
	}
}

// A layer in a spool is held against its digest and its size.
func TestSpooledLayerIsHeld(t *testing.T) {
	c := tinyContent(t)
	good := readBlob(t, c.Blobs[2])
	for name, data := range map[string][]byte{"other": make([]byte, len(good)), "short": good[1:], "long": append(slices.Clip(good), 0), "none": nil} {
		folder := t.TempDir()
		s, err := NewSpool(filepath.Join(folder, "x"), c, CreateOptions{}, func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		layer := s.Layer(c.Blobs[2].Digest)
		if _, err = layer.Write(data); err == nil {
			err = layer.Close()
		}
		if !errors.Is(err, ErrDigest) {
			t.Errorf("%s: %v, want ErrDigest", name, err)
		}
		if _, err := Create(t.Context(), filepath.Join(folder, "x"), c, CreateOptions{Spool: s}); err != nil {
			t.Errorf("%s: %v; the layer's source is still there", name, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if data, err := os.ReadFile(filepath.Join(folder, "x")); err != nil || !strings.Contains(string(data), string(good)) {
			t.Errorf("%s: the bundle has not the layer: %v", name, err)
		}
	}
}
