package media

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
)

func TestParts(t *testing.T) {
	s := newSite(t)
	for _, size := range []int{2400, 100_000, len(s.data) - 1, len(s.data), len(s.data) + 1} { // from a head in two parts to all in one
		whole := s.cut(t, size)
		for _, location := range []string{whole, bundle.PartName(whole, 1)} {
			if err := s.verify(location, Options{}); err != nil {
				t.Errorf("parts of %d bytes, as %s: %v", size, filepath.Base(location), err)
			}
		}
	}
}

func TestBadParts(t *testing.T) {
	s := newSite(t)
	const size = 600_000 // four of them
	part := func(whole string, n int) string { return bundle.PartName(whole, n) }
	truncate := func(name string, by int64) error {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		return os.Truncate(name, info.Size()-by)
	}
	for name, test := range map[string]struct {
		edit func(whole string) error
		want error // nil: any
		text string
	}{
		"two missing":  {func(w string) error { return errors.Join(os.Remove(part(w, 2)), os.Remove(part(w, 4))) }, fs.ErrNotExist, "site.airgap.002, site.airgap.004 are not in "},
		"last missing": {func(w string) error { return os.Remove(part(w, 4)) }, fs.ErrNotExist, "--parts-in"},
		"exchanged": {func(w string) error {
			return errors.Join(os.Rename(part(w, 2), w), os.Rename(part(w, 3), part(w, 2)), os.Rename(w, part(w, 3)))
		}, nil, "copy site.airgap.001 to site.airgap.003 again"},
		"exchanged with the last": {func(w string) error {
			return errors.Join(os.Rename(part(w, 2), w), os.Rename(part(w, 4), part(w, 2)), os.Rename(w, part(w, 4)))
		}, bundle.ErrTruncated, "site.airgap.002 has "},
		"second short":   {func(w string) error { return truncate(part(w, 2), 1) }, bundle.ErrTruncated, "site.airgap.002 has 599999 bytes of 600000"},
		"last short":     {func(w string) error { return truncate(part(w, 4), 1) }, bundle.ErrTruncated, "site.airgap.004 has "},
		"first short":    {func(w string) error { return truncate(part(w, 1), 512) }, bundle.ErrFormat, "site.airgap.001 is not whole"},
		"second long":    {func(w string) error { return appendTo(part(w, 2), "x") }, bundle.ErrFormat, "of another bundle"},
		"last long":      {func(w string) error { return appendTo(part(w, 4), "x") }, bundle.ErrFormat, "site.airgap.004"},
		"first too long": {func(w string) error { return appendTo(part(w, 1), strings.Repeat("x", len(s.data))) }, bundle.ErrFormat, "the whole bundle has"},
		"empty":          {func(w string) error { return os.Truncate(part(w, 1), 0) }, bundle.ErrTruncated, "site.airgap.001 is empty"},
		"one bit":        {func(w string) error { return flip(part(w, 3)) }, bundle.ErrDigest, "copy site.airgap.001 to site.airgap.003 again"},
		"a folder":       {func(w string) error { return errors.Join(os.Remove(part(w, 2)), os.Mkdir(part(w, 2), 0o755)) }, bundle.ErrFormat, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			whole := s.cut(t, size)
			if err := test.edit(whole); err != nil {
				t.Fatal(err)
			}
			err := s.verify(whole, Options{})
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
	if err := s.verify(part(s.cut(t, size), 2), Options{}); !errors.Is(err, ErrNotFirst) || !strings.Contains(err.Error(), "site.airgap.001") {
		t.Errorf("the second part named: %v", err)
	}
}

func appendTo(name, text string) error {
	data, err := os.ReadFile(name)
	return errors.Join(err, os.WriteFile(name, append(data, text...), 0o644))
}

func flip(name string) error {
	data, err := os.ReadFile(name)
	data[len(data)/2] ^= 1
	return errors.Join(err, os.WriteFile(name, data, 0o644))
}

// TestOneStickAfterTheOther has one part on each stick: a person is asked, brings a wrong one, a stick without any, and the right one.
func TestOneStickAfterTheOther(t *testing.T) {
	s := newSite(t)
	all := s.cut(t, 800_000) // three parts
	stick := t.TempDir()     // where sticks are mounted, one at a time
	insert := func(parts ...int) {
		for n := 1; n <= 3; n++ {
			_ = os.Remove(bundle.PartName(filepath.Join(stick, "site.airgap"), n))
		}
		for _, n := range parts {
			if err := os.Link(bundle.PartName(all, n), bundle.PartName(filepath.Join(stick, "site.airgap"), n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	insert(1)
	var asked []MissingPart
	elsewhere := t.TempDir()
	o := Options{Ask: func(_ context.Context, want MissingPart) (string, error) {
		asked = append(asked, want)
		switch len(asked) {
		case 1:
			insert() // nothing
		case 2:
			insert(1, 3)
			if err := os.Link(bundle.PartName(all, 3), filepath.Join(stick, "site.airgap.002")); err != nil { // of another size
				t.Fatal(err)
			}
		case 3:
			insert(2)
		case 4:
			return elsewhere, os.Link(bundle.PartName(all, 3), filepath.Join(elsewhere, "site.airgap.003"))
		}
		return "", nil
	}}
	if err := s.verify(filepath.Join(stick, "site.airgap"), o); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 4 || asked[0].Number != 2 || asked[0].Count != 3 || asked[2].Reason == nil || asked[3].Name != "site.airgap.003" {
		t.Errorf("asked %+v", asked)
	}

	insert(1)
	gone := errors.New("the person has gone home")
	o.Ask = func(context.Context, MissingPart) (string, error) { return "", gone }
	if err := s.verify(filepath.Join(stick, "site.airgap"), o); !errors.Is(err, gone) {
		t.Errorf("nobody there: %v", err)
	}
	insert(1, 3)
	if err := os.Link(bundle.PartName(all, 2), filepath.Join(elsewhere, "site.airgap.002")); err != nil {
		t.Fatal(err)
	}
	if err := s.verify(filepath.Join(stick, "site.airgap"), Options{PartsIn: []string{elsewhere}}); err != nil {
		t.Errorf("in two folders: %v", err)
	}
}

func TestStandardInput(t *testing.T) {
	s := newSite(t)
	if err := s.verify(Stdin, Options{Stdin: bytes.NewReader(s.data)}); err != nil {
		t.Error(err)
	}
	err := s.verify(Stdin, Options{Stdin: bytes.NewReader(s.data[:1_000_000])})
	if !errors.Is(err, bundle.ErrTruncated) || !strings.Contains(err.Error(), "other end of the pipe") {
		t.Errorf("broken off: %v", err)
	}
	// A pipe that gives nothing more does not hold up an interrupt.
	r, w := io.Pipe()
	go w.Write(s.data[:1_000_000])
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.verifyWithin(ctx, Stdin, Options{Stdin: r}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("interrupted: %v", err)
	}
}
