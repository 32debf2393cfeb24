package installer

import (
	"context"
	"os"
	"strings"
	"testing"
)

// TestOpenRCIsInstalledAndRemoved installs where OpenRC does not run, as into an image.
func TestOpenRCIsInstalledAndRemoved(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	before := s.fingerprint(t)
	o := s.options("a.airgap")
	o.Init = InitOpenRC
	report, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !report.NotStarted {
		t.Error("a service was started that nobody runs here")
	}
	got := s.fingerprint(t)
	name := s.paths().UnitName()
	for _, want := range []string{
		"-rwxr-xr-x etc/init.d/" + name + " ", "etc/runlevels/default/" + name + " -> " + s.path("etc/init.d/"+name),
		"-rw-r--r-- etc/modules-load.d/" + name + ".conf ", "-rw-r--r-- etc/sysctl.d/" + name + ".conf ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	err = Uninstall(context.Background(), UninstallOptions{DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin")})
	if err != nil {
		t.Fatal(err)
	}
	if after := s.fingerprint(t); after != before {
		t.Errorf("left:\n%s\nbefore:\n%s", after, before)
	}
}

// What was in a folder of the host before stays there, empty folders too.
func TestUninstallKeepsFoldersItFound(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	if err := os.MkdirAll(s.path("etc/sysctl.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := s.fingerprint(t)
	if _, err := Run(context.Background(), s.options("a.airgap")); err != nil {
		t.Fatal(err)
	}
	err := Uninstall(context.Background(), UninstallOptions{DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin")})
	if err != nil {
		t.Fatal(err)
	}
	if after := s.fingerprint(t); after != before {
		t.Errorf("left:\n%s\nbefore:\n%s", after, before)
	}
}
