package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// hostileFolder has the bundles that must be refused, each with the rule it breaks, and the key of their maker.
const hostileFolder = "../../bundle/testdata/hostile"

// ofTheHead are the rules that inspect, which reads the head alone, holds a bundle against.
var ofTheHead = []string{"bounds", "signature", "json", "canonical", "manifest"}

// TestHostileBundlesAreRefused gives each of them to verify, as a file and on standard input, and to inspect: exit code 3, nothing on
// stdout, and nothing written.
func TestHostileBundlesAreRefused(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(hostileFolder, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ File, Rule string }
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(hostileFolder, "maker.pub")
	folder := t.TempDir()
	path := filepath.Join(folder, "hostile.airgap")
	for _, c := range cases {
		bundle := ungzip(t, filepath.Join(hostileFolder, c.File))
		if err := os.WriteFile(path, bundle, 0o444); err != nil {
			t.Fatal(err)
		}
		runs := [][]string{{"airgap", "verify", path, "--key", key}, {"airgap", "verify", "-", "--key", key}}
		if slices.Contains(ofTheHead, c.Rule) {
			runs = append(runs, []string{"airgap", "inspect", path, "--key", key})
		}
		for _, argv := range runs {
			var stdout bytes.Buffer
			e := &env{stdin: bytes.NewReader(bundle), stdout: &stdout, stderr: io.Discard, getenv: func(string) (string, bool) { return "", false }, now: time.Now}
			err := e.run(t.Context(), argv)
			if code := exitCode(t.Context(), err); code != exitRefused || stdout.Len() > 0 {
				t.Errorf("%s: %q: exit code %d, %v, stdout %q", c.File, argv, code, err, &stdout)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func ungzip(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
