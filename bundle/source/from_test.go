package source

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/signing"
)

// A bundle to start from gives the same bytes wherever it is, and is copied only from a server that does not give parts of it.
func TestFromAnywhere(t *testing.T) {
	key := testKey(t)
	trust := signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}
	host := newRegistry(t)
	push(t, host+"/app:1", image(t, "linux/amd64", "one", "two"))
	folder := write(t, map[string]string{"f": "a file", "site/empty": "", "c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n"})
	first := load(t, folder, "  images: ["+host+"/app:1]\n  files: [{source: f, target: /etc/f}]\n  charts: [{name: c, chart: c}]\n"+
		"  distributions: [{platform: linux/amd64, executable: f, version: 1.0.0, kubernetes: v1.37.1}]\n")
	gathered := must(Gather(context.Background(), first, options()))(t)
	defer gathered.Close()
	path := filepath.Join(folder, "site", "base.airgap")
	if _, err := bundle.Create(context.Background(), path, gathered.Content, bundle.CreateOptions{Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	data := must(os.ReadFile(path))(t)
	ranged := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	defer ranged.Close()
	whole := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(data))
	}))
	defer whole.Close()
	reader := must(bundle.Open(path, trust))(t)
	must(media.Push(context.Background(), reader, "oci://"+host+"/bundles/base:1", media.PushOptions{}))(t)
	reader.Close()

	build := func(from, temporary string) ([]byte, *Gathered, error) {
		spec := load(t, folder, "")
		spec.Spec.From = []string{from}
		o := options()
		o.Trust, o.TemporaryPath = trust, temporary
		gathered, err := Gather(context.Background(), spec, o)
		if err != nil {
			return nil, nil, err
		}
		defer gathered.Close()
		gathered.Content.Manifest.Version = "2.0.0"
		out := filepath.Join(t.TempDir(), "out.airgap")
		if _, err := bundle.Create(context.Background(), out, gathered.Content, bundle.CreateOptions{}); err != nil {
			return nil, nil, err
		}
		return must(os.ReadFile(out))(t), gathered, nil
	}
	const nowhere = "/nowhere" // to put a copy
	want, here, err := build(path, nowhere)
	if err != nil {
		t.Fatal(err)
	}
	for digest, distant := range here.distant {
		if distant {
			t.Errorf("%s is taken for distant", digest)
		}
	}
	for _, test := range []struct {
		name, from string
		copied     bool
	}{
		{"a server", ranged.URL + "/base.airgap", false},
		{"a server that gives all or nothing", whole.URL + "/base.airgap", true},
		{"a registry", "oci://" + host + "/bundles/base:1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, from, err := build(test.from, nowhere)
			if test.copied {
				if err == nil {
					t.Error("it was not copied")
				}
				got, from, err = build(test.from, t.TempDir())
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes that differ from the %d made from the file, %v", len(got), len(want), err)
			}
			for digest, distant := range from.distant {
				if distant == test.copied {
					t.Errorf("layer %s: distant is %v", digest, distant)
				}
			}
		})
	}

	spoiled := bytes.Replace(data, []byte("a file"), []byte("a fool"), 1)
	if err := os.WriteFile(filepath.Join(folder, "site", "spoiled.airgap"), spoiled, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := build(ranged.URL+"/spoiled.airgap", nowhere); err == nil {
		t.Error("a spoiled blob was taken over")
	}
}
