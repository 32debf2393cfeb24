package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"airgap/bundle"
	"airgap/signing"
)

func TestIndexIsKeptAndPlatformsAreChosen(t *testing.T) {
	host := newRegistry(t)
	digest := push(t, host+"/app:1", index(t, "linux/amd64", "linux/arm64", "linux/s390x"))
	spec := load(t, t.TempDir(), "  images: ["+host+"/app:1]\n")
	o := options()
	o.Platforms = []string{"linux/s390x", "linux/arm64/v8"}
	_, m, err := gather(t, spec, o)
	if err != nil {
		t.Fatal(err)
	}
	image := m.Images[0]
	if image.Digest != digest || image.MediaType != string(types.OCIImageIndex) {
		t.Errorf("the index is %s of type %s, want %s", image.Digest, image.MediaType, digest)
	}
	if got := fmt.Sprint(m.Platforms, len(image.Platforms)); got != "[linux/arm64 linux/s390x] 2" {
		t.Errorf("platforms: %s", got)
	}
	layers := 0
	for _, entry := range m.Entries {
		if entry.Role == bundle.RoleLayer {
			layers++
		}
	}
	if layers != 3 { // one shared, one each
		t.Errorf("%d layers, want 3", layers)
	}
}

func TestReferences(t *testing.T) {
	host := newRegistry(t)
	one := push(t, host+"/app:1", image(t, "linux/amd64", "one"))
	push(t, host+"/app:2", image(t, "linux/amd64", "two"))
	for _, test := range []struct{ name, images, want string }{
		{"tag", "{H}/app:1", "{H}/app:1\n"},
		{"digest", "{H}/app@{1}", "{H}/app@{1}\n"},
		{"both", "{H}/app:1@{1}", "{H}/app:1\n{H}/app@{1}\n"},
		{"tag that moved on", "{H}/app:2@{1}", "{H}/app:2\n{H}/app@{1}\n"},
		{"other name", "{source: \"{H}/app:1\", name: nginx}", "docker.io/library/nginx:latest\n"},
		{"twice", "{H}/app:1, {H}/app:1", "{H}/app:1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			expand := strings.NewReplacer("{H}", host, "{1}", one).Replace
			spec := load(t, t.TempDir(), "  images: ["+expand(test.images)+"]\n")
			_, m, err := gather(t, spec, options())
			if err != nil {
				t.Fatal(err)
			}
			if got := references(m); got != expand(test.want) {
				t.Errorf("got\n%swant\n%s", got, expand(test.want))
			}
		})
	}
}

func TestOneReferenceForTwoImagesIsRefused(t *testing.T) {
	host := newRegistry(t)
	push(t, host+"/app:1", image(t, "linux/amd64", "one"))
	push(t, host+"/app:2", image(t, "linux/amd64", "two"))
	spec := load(t, t.TempDir(), fmt.Sprintf("  images: [%s/app:1, {source: %q, name: %q}]\n", host, host+"/app:2", host+"/app:1"))
	_, _, err := gather(t, spec, options())
	if err == nil || !strings.Contains(err.Error(), "is named twice with different content: spec.images[0] (airgap.yaml:7) is sha256:") {
		t.Errorf("got %v", err)
	}
}

func TestImagesThatCannotBeCarried(t *testing.T) {
	host := newRegistry(t)
	for _, test := range []struct {
		name string
		what v1.Image
		want string
	}{
		{"artifact", mutate.ConfigMediaType(image(t, "linux/amd64"), "application/vnd.cncf.helm.config.v1+json"), `is not a container image: its config is of type "application/vnd.cncf.helm.config.v1+json"`},
		{"windows", image(t, "windows/amd64"), "has no image for linux/amd64; it has windows/amd64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			reference := host + "/" + test.name + ":1"
			push(t, reference, test.what)
			_, _, err := gather(t, load(t, t.TempDir(), "  images: ["+reference+"]\n"), options())
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), reference) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestPinnedImageOfAChartIsFoundByDigest(t *testing.T) {
	host := newRegistry(t)
	digest := push(t, host+"/app:1", image(t, "linux/amd64", "one"))
	folder := write(t, map[string]string{"pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: \"nowhere.invalid/app:9@" + digest + "\"}]}\n"})
	_, m, err := gather(t, load(t, folder, "  images: ["+host+"/app:1]\n  manifests: [pod.yaml]\n"), options())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := references(m), host+"/app:1\nnowhere.invalid/app@"+digest+"\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLock(t *testing.T) {
	host := newRegistry(t)
	first := push(t, host+"/app:1", image(t, "linux/amd64", "one"))
	folder := t.TempDir()
	spec := load(t, folder, "  images: ["+host+"/app:1]\n")
	gathered, _, err := gather(t, spec, options())
	if err != nil {
		t.Fatal(err)
	}
	if err := gathered.Lock.Write(spec.LockPath()); err != nil {
		t.Fatal(err)
	}
	push(t, host+"/app:1", image(t, "linux/amd64", "two"))
	later := options()
	later.Now = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }
	later.Lock = must(ReadLock(spec.LockPath()))(t)

	// The tag has moved; the lock has not.
	_, m, err := gather(t, spec, later)
	if err != nil {
		t.Fatal(err)
	}
	if m.Images[0].Digest != first || m.IssuedAt != "2026-01-02T03:04:05Z" {
		t.Errorf("with the lock: %s of %s", m.Images[0].Digest, m.IssuedAt)
	}
	// Other content is issued at another time.
	if err := os.WriteFile(filepath.Join(folder, "f"), []byte("f"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, m, err = gather(t, load(t, folder, "  images: ["+host+"/app:1]\n  files: [{source: f, target: /f}]\n"), later)
	if err != nil {
		t.Fatal(err)
	}
	if m.Images[0].Digest != first || m.IssuedAt != "2030-01-01T00:00:00Z" {
		t.Errorf("with a file more: %s of %s", m.Images[0].Digest, m.IssuedAt)
	}
	// Without the lock, the tag means what it means now.
	later.Lock = nil
	_, m, err = gather(t, spec, later)
	if err != nil {
		t.Fatal(err)
	}
	if m.Images[0].Digest == first || m.IssuedAt != "2030-01-01T00:00:00Z" {
		t.Errorf("without the lock: %s of %s", m.Images[0].Digest, m.IssuedAt)
	}
}

func TestFromTakesOver(t *testing.T) {
	host := newRegistry(t)
	push(t, host+"/pause:1", image(t, "linux/amd64", "pause"))
	folder := write(t, map[string]string{
		"airgap": "the executable", "a.conf": "a",
		"a.yaml":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
		"chart/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n", "values.yaml": "a: 1\n",
	})
	spec := load(t, folder, "  system: true\n  images: ["+host+"/pause:1]\n  manifests: [a.yaml]\n  files: [{source: a.conf, target: /etc/a}]\n"+
		"  charts: [{name: c, chart: chart, values: values.yaml}]\n  distributions: [{platform: linux/amd64, executable: airgap}]\n")
	system := must(Gather(context.Background(), spec, options()))(t)
	defer system.Close()
	key := testKey(t)
	path := filepath.Join(folder, "system.airgap")
	want := must(bundle.Create(context.Background(), path, system.Content, bundle.CreateOptions{Signers: []*signing.PrivateKey{key}}))(t)

	o := options()
	o.SystemBundle = path
	o.Trust = signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}
	second := load(t, t.TempDir(), "")
	second.Spec.From = nil
	gathered, got, err := gather(t, second, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct{ name, got, want string }{
		{"images", fmt.Sprint(got.Images), fmt.Sprint(want.Images)},
		{"charts", fmt.Sprint(got.Charts), fmt.Sprint(want.Charts)},
		{"manifests", fmt.Sprint(got.Manifests), fmt.Sprint(want.Manifests)},
		{"files", fmt.Sprint(got.Files), fmt.Sprint(want.Files)},
		{"distributions", fmt.Sprint(got.Distributions), fmt.Sprint(want.Distributions)},
		{"blobs", fmt.Sprint(got.Entries[2:]), fmt.Sprint(want.Entries[2:])},
	} {
		if part.got != part.want {
			t.Errorf("%s: got\n%s\nwant\n%s", part.name, part.got, part.want)
		}
	}
	if why := gathered.Images[0].Why[0].Where; why != "bundle system.airgap" {
		t.Errorf("why: %s", why)
	}

	// What airgap.yaml adds comes after; what both have is refused.
	more := write(t, map[string]string{"b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n", "a.yaml": "", "f": "f"})
	third := load(t, more, "  manifests: [b.yaml]\n")
	third.Spec.From = nil
	if _, got, err = gather(t, third, o); err != nil {
		t.Fatal(err)
	}
	if len(got.Manifests) != 2 || got.Manifests[0].Name != "a" || got.Manifests[1].Name != "b" {
		t.Errorf("manifests: %v", got.Manifests)
	}
	for text, want := range map[string]string{
		"  manifests: [a.yaml]\n":                              "there is a manifest a already",
		"  files: [{source: f, target: /etc/a}]\n":             "a bundle of spec.from has /etc/a too",
		"  charts: [{name: c, chart: " + folder + "/chart}]\n": "a bundle of spec.from has a release of that name too",
	} {
		both := load(t, more, text)
		both.Spec.From = nil
		if _, _, err := gather(t, both, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}

	o.Trust = signing.Policy{Keys: []signing.PublicKey{testKey(t).Public()}, Threshold: 1}
	if _, _, err := gather(t, second, o); err == nil {
		t.Error("a bundle signed by a stranger is taken")
	}
}
