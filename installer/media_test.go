package installer

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"airgap/bundle"
	"airgap/bundle/media"
)

// A bundle is installed from parts, from a pipe and from a server as it is from a file.
func TestInstallFromMedia(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	data, err := os.ReadFile(s.path("a.airgap"))
	if err != nil {
		t.Fatal(err)
	}
	const partBytes = 3000
	for n, rest := 1, data; len(rest) > 0; n++ {
		size := min(partBytes, len(rest))
		if err := os.WriteFile(s.path(bundle.PartName("p.airgap", n)), rest[:size], 0o444); err != nil {
			t.Fatal(err)
		}
		rest = rest[size:]
	}
	server := httptest.NewServer(http.FileServer(http.Dir(s.path(""))))
	defer server.Close()
	var want string
	for _, location := range []string{s.path("a.airgap"), s.path("p.airgap.001"), media.Stdin, server.URL + "/a.airgap"} {
		o := s.options("a.airgap")
		o.Bundle, o.Media = location, media.Options{Stdin: bytes.NewReader(data)}
		report, err := Run(context.Background(), o)
		if err != nil || report.Images != 2 || report.Unsigned {
			t.Fatalf("%s: %+v, %v", location, report, err)
		}
		got := s.fingerprint(t)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s installs something else:\n%s\nthan the file:\n%s", location, got, want)
		}
		uninstall := UninstallOptions{DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin")}
		if err := Uninstall(context.Background(), uninstall); err != nil {
			t.Fatal(err)
		}
	}
}
