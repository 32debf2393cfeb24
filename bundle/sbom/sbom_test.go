package sbom

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// entry is a file of a test's layer; a name that ends in / is a folder.
type entry struct {
	name, content string
	mode          int64
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(e.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(t testing.TB, data []byte) *Layer {
	t.Helper()
	layer, err := ReadLayer(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// names are the packages of an image, "kind name version".
func names(i Image) []string {
	var list []string
	for _, p := range i.Packages {
		list = append(list, strings.TrimSpace(string(p.Kind)+" "+p.Name+" "+p.Version))
	}
	return list
}

const (
	dpkgStatus = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+deb12u4\nDescription: GNU C\n more: of it\n\n" +
		"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n" +
		"Package: adduser\nStatus: install ok installed\nVersion: 3.134\n"
	dpkgPart     = "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n"
	apkInstalled = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nF:lib\nR:ld\n\nP:busybox\nV:1.36.1-r28\nA:x86_64\no:busybox\n\n"
)

func TestImages(t *testing.T) {
	base := tarOf(t, entry{"etc/os-release", "NAME=x\nID=debian\nVERSION_ID=\"12\"\n", 0o644}, entry{"./var/lib/dpkg/status", dpkgStatus, 0o644})
	debian := []string{"deb adduser 3.134", "deb libc6 2.36-9+deb12u4"}
	for _, test := range []struct {
		name   string
		layers [][]byte
		want   []string
	}{
		{"Debian", [][]byte{base}, debian},
		{"distroless", [][]byte{tarOf(t, entry{"var/lib/dpkg/status.d/base", dpkgPart, 0o644}, entry{"var/lib/dpkg/status.d/base.md5sums", dpkgPart, 0o644})}, []string{"deb base-files 12.4"}},
		{"Alpine", [][]byte{tarOf(t, entry{"lib/apk/db/installed", apkInstalled, 0o644})}, []string{"apk busybox 1.36.1-r28", "apk musl 1.2.5-r0"}},
		{"an upper layer replaces the database", [][]byte{base, tarOf(t, entry{"var/lib/dpkg/status", dpkgPart, 0o644})}, []string{"deb base-files 12.4"}},
		{"and empties it", [][]byte{base, tarOf(t, entry{"var/lib/dpkg/status", "", 0o644})}, nil},
		{"and removes it", [][]byte{base, tarOf(t, entry{"var/lib/dpkg/.wh.status", "", 0o644})}, nil},
		{"and its folder", [][]byte{base, tarOf(t, entry{"var/lib/.wh.dpkg", "", 0o644})}, nil},
		{"and hides its folder", [][]byte{base, tarOf(t, entry{"var/lib/dpkg/.wh..wh..opq", "", 0o644})}, nil},
		{"and has another folder", [][]byte{base, tarOf(t, entry{"var/lib/", "", 0o755}, entry{"var/lib/dpk/.wh..wh..opq", "", 0o644})}, debian},
		{"nothing", [][]byte{tarOf(t, entry{"bin/sh", "#!", 0o755})}, nil},
		{"no layers", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			image := Image{Reference: "example.com/a:1", Digest: "sha256:00", Platform: "linux/amd64"}
			var layers []*Layer
			for _, data := range test.layers {
				layers = append(layers, read(t, data))
			}
			image.Merge(layers)
			if got := names(image); !slices.Equal(got, test.want) {
				t.Errorf("packages %q, want %q", got, test.want)
			}
			if image.Packages != nil && test.name == "Debian" && image.System != (System{"debian", "12"}) {
				t.Errorf("system %v", image.System)
			}
		})
	}
}

func TestCompressions(t *testing.T) {
	plain := tarOf(t, entry{"lib/apk/db/installed", apkInstalled, 0o644})
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(plain)
	w.Close()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes(), "zstd": encoder.EncodeAll(plain, nil)} {
		if got := len(read(t, data).files); got != 1 {
			t.Errorf("%s: %d files that say something, want 1", name, got)
		}
		if _, err := ReadLayer(bytes.NewReader(data[:min(600, len(data)/2)])); err == nil {
			t.Errorf("%s: half of it was read", name)
		}
	}
	if _, err := ReadLayer(strings.NewReader(strings.Repeat("no layer ", 100))); err == nil {
		t.Error("something else was read")
	}
}

// TestGoPrograms looks into this test, a program of Go's, wherever its build information lies.
func TestGoPrograms(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(program, []byte(buildInfoMagic))
	for _, shift := range []int{0, windowBytes - at%windowBytes - 16, windowBytes - at%windowBytes + 16} {
		shift -= shift % buildInfoAlign
		moved := slices.Concat(program[:64], make([]byte, max(0, shift)), program[64:])
		image := Image{}
		image.Merge([]*Layer{read(t, tarOf(t, entry{"usr/bin/program", string(moved), 0o755}))})
		if !slices.ContainsFunc(names(image), func(s string) bool { return strings.HasPrefix(s, "golang airgap") }) ||
			!slices.ContainsFunc(names(image), func(s string) bool { return strings.HasPrefix(s, "golang stdlib 1.") }) {
			t.Errorf("moved by %d: packages %q", shift, names(image))
		}
	}
	lower := read(t, tarOf(t, entry{"usr/bin/program", string(program), 0o755}))
	for name, upper := range map[string]entry{
		"another program": {"usr/bin/program", "#!/bin/sh\n", 0o755},
		"a whiteout":      {"usr/bin/.wh.program", "", 0o644},
	} {
		image := Image{}
		if image.Merge([]*Layer{lower, read(t, tarOf(t, upper))}); len(image.Packages) > 0 {
			t.Errorf("%s in its place: packages %q", name, names(image))
		}
	}
}

func TestBuildInfo(t *testing.T) {
	prefixed := func(s string) string { return string(binary.AppendUvarint(nil, uint64(len(s)))) + s }
	mark := strings.Repeat("m", buildInfoSentinel)
	modules := "path\texample.com/m\nmod\texample.com/m\tv1.2.3\t\ndep\texample.com/a\tv0.1.0\th1:x=\ndep\texample.com/b\tv1.0.0\n=>\texample.com/fork\tv1.0.1\th1:y=\n"
	info := buildInfoMagic + "\x08\x02" + strings.Repeat("\x00", 16) + prefixed("go1.26.5") + prefixed(mark+modules+mark)
	for name, test := range map[string]struct {
		data string
		want []string
	}{
		"whole":         {info, []string{"golang example.com/a v0.1.0", "golang example.com/fork v1.0.1", "golang example.com/m v1.2.3", "golang stdlib 1.26.5"}},
		"no modules":    {info[:buildInfoHeader+9], []string{"golang stdlib 1.26.5"}},
		"cut":           {info[:buildInfoHeader+5], nil},
		"not inline":    {strings.Replace(info, "\x08\x02", "\x08\x00", 1), nil},
		"not a version": {strings.Replace(info, "go1.26.5", "rubbish!", 1), nil},
		"not aligned":   {" " + info, nil},
	} {
		image := Image{}
		program := elfMagic + strings.Repeat("\x00", minimumELFBytes-len(elfMagic)) + test.data
		image.Merge([]*Layer{read(t, tarOf(t, entry{"x", program, 0o755}))})
		if got := names(image); !slices.Equal(got, test.want) {
			t.Errorf("%s: packages %q, want %q", name, got, test.want)
		}
	}
}

func TestDocument(t *testing.T) {
	system := System{"debian", "12"}
	shared := Package{Kind: Debian, Name: "libc6", Version: "2.36-9+deb12u4", Arch: "amd64", Origin: "glibc"}
	subject := Subject{Name: "site-a", Version: "1.4.0", IssuedAt: "2026-11-22T09:00:00Z", Tool: "airgap-0.1.0", Images: []Image{
		{Reference: "docker.io/library/b:1", Digest: "sha256:bb", Platform: "linux/arm64"},
		{Reference: "localhost:5000/a@sha256:aa", Digest: "sha256:aa", Platform: "linux/amd64", System: system, Packages: []Package{shared, {Kind: Go, Name: "example.com/M/x", Version: "v1.0.0"}}},
		{Reference: "docker.io/library/a:1", Digest: "sha256:a1", Platform: "linux/amd64", System: system, Packages: []Package{shared}},
	}}
	first, err := json.Marshal(NewDocument(subject))
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(subject.Images)
	second, err := json.Marshal(NewDocument(subject))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same images in another order give another document: %v", err)
	}
	var d Document
	if err := json.Unmarshal(first, &d); err != nil {
		t.Fatal(err)
	}
	var locators []string
	ids := map[string]bool{d.SPDXID: true}
	for _, p := range d.Packages {
		locators = append(locators, p.ExternalRefs[0].Locator)
		if ids[p.SPDXID] {
			t.Errorf("ID %s twice", p.SPDXID)
		}
		ids[p.SPDXID] = true
	}
	want := []string{
		"pkg:oci/a@sha256%3Aa1?arch=amd64&repository_url=docker.io%2Flibrary%2Fa",
		"pkg:oci/b@sha256%3Abb?arch=arm64&repository_url=docker.io%2Flibrary%2Fb",
		"pkg:oci/a@sha256%3Aaa?arch=amd64&repository_url=localhost%3A5000%2Fa",
		"pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
		"pkg:golang/example.com/M/x@v1.0.0",
	}
	if !slices.Equal(locators, want) {
		t.Errorf("packages\n%s, want\n%s", strings.Join(locators, "\n"), strings.Join(want, "\n"))
	}
	if len(d.Relationships) != 6 || len(d.DocumentDescribes) != 3 {
		t.Errorf("relationships %v", d.Relationships)
	}
	for _, r := range d.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%v leads to nothing", r)
		}
	}
	if d.Packages[1].Comment != nothingFound || d.Packages[0].Comment != "" {
		t.Errorf("comments %q, %q", d.Packages[0].Comment, d.Packages[1].Comment)
	}
}

// FuzzReadLayer looks for layers that are not refused and not read either.
func FuzzReadLayer(f *testing.F) {
	f.Add(tarOf(f, entry{"var/lib/dpkg/status", dpkgStatus, 0o644}, entry{"var/.wh.lib", "", 0o644}))
	f.Add(tarOf(f, entry{"lib/apk/db/installed", apkInstalled, 0o644}))
	f.Add(tarOf(f, entry{"x", elfMagic + strings.Repeat("\x00", minimumELFBytes) + buildInfoMagic + "\x00\x02" + strings.Repeat("\x00", 16) + "\x04go1." + "\xff\xff\xff\xff\x0f", 0o755}))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		layer, err := ReadLayer(bytes.NewReader(data))
		if err != nil {
			return
		}
		image := Image{Reference: "a", Digest: "sha256:00", Platform: "linux/amd64"}
		image.Merge([]*Layer{layer, layer})
		if _, err := json.Marshal(NewDocument(Subject{Images: []Image{image}})); err != nil {
			t.Fatal(err)
		}
	})
}
