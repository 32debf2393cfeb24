package addons

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestScanFindsManifests(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{
		"a.yaml", "b.yml", "c.json", "d.yaml.skip", "d.yaml", "e.txt", ".hidden.yaml", "f.yaml~",
		"sub/g.yaml", ".git/h.yaml", "i.yaml.skip",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("e.txt", filepath.Join(folder, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	files, err := scan(folder)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a.yaml", "b.yml", "c.json", "d.yaml", "link.yaml", "sub/g.yaml"}
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if !files["d.yaml"].skipped || files["a.yaml"].skipped {
		t.Errorf("skipped: d.yaml %v, a.yaml %v", files["d.yaml"].skipped, files["a.yaml"].skipped)
	}
	if _, err := scan(filepath.Join(folder, "missing")); err == nil {
		t.Error("a missing folder is taken for an empty one")
	}
}

func TestFileIsReadOnlyOnceItHasSettled(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		modified, seen time.Duration // ago
		settled        bool
	}{
		"old":                                   {time.Hour, 0, true},
		"just written":                          {0, 0, false},
		"being written":                         {100 * time.Millisecond, 100 * time.Millisecond, false},
		"written, and seen unchanged":           {settleTime, settleTime, true},
		"clock set back, first seen":            {-time.Hour, 0, false},
		"clock set back, seen unchanged for it": {-time.Hour, settleTime, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := progress{file: file{modTime: now.Add(-test.modified)}, since: now.Add(-test.seen)}
			wait := p.wait(now)
			if (wait == 0) != test.settled || wait > settleTime {
				t.Errorf("wait %v", wait)
			}
		})
	}
}

func TestRecordNames(t *testing.T) {
	names := map[string]string{}
	for _, file := range []string{
		"coredns.yaml", "Coredns.yaml", "sub/coredns.yaml", "sub-coredns.yaml", "a b.yaml", "ä.yaml", "-.yaml",
		strings.Repeat("long", 100) + ".yaml", strings.Repeat("long", 101) + ".yaml",
	} {
		name := recordName(file)
		if bad := validation.IsDNS1123Subdomain(name); len(bad) > 0 {
			t.Errorf("%q: %q is no name: %v", file, name, bad)
		}
		if other, taken := names[name]; taken {
			t.Errorf("%q and %q are both %q", file, other, name)
		}
		names[name] = file
	}
	if recordName("coredns.yaml") != "airgap-addon-coredns.yaml" {
		t.Errorf("the plain case is %q", recordName("coredns.yaml"))
	}
}

func TestRecordIsReadBackAsWritten(t *testing.T) {
	r := record{
		FileStatus: FileStatus{"sub/a.yaml", Failed, "no", "00ff", []Reference{site, config}},
		node:       "n1",
	}
	configMap, err := r.configMap()
	if err != nil {
		t.Fatal(err)
	}
	back, err := recordFrom(configMap)
	if err != nil || !back.equal(r) {
		t.Errorf("%+v, error %v", back, err)
	}
	for key, value := range map[string]string{"file": "", "objects": "["} {
		damaged := configMap.DeepCopy()
		damaged.Data[key] = value
		if _, err := recordFrom(damaged); err == nil || !strings.Contains(err.Error(), damaged.Name) {
			t.Errorf("%s = %q: error %v", key, value, err)
		}
	}
}
