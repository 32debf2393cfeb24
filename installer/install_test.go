package installer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/signing"
)

func TestInstall(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	var out bytes.Buffer
	o := s.options("a.airgap")
	o.Out = &out
	report, err := Run(context.Background(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !report.NotStarted || report.Images != 2 || report.Airgap != "1.0.0" || len(report.Steps) != serverSteps {
		t.Errorf("report = %+v", report)
	}
	if got := strings.Count(out.String(), "\n"); got != serverSteps {
		t.Errorf("%d lines for %d steps:\n%s", got, serverSteps, &out)
	}
	got := s.fingerprint(t)
	for _, want := range []string{
		"-rw-r--r-- systemd/airgap-", "systemd/multi-user.target.wants/airgap-", // service
		"bin/airgap -> " + s.path("data/current/airgap"),
		"data/current -> data/", "/bin/airgap ",
		"-rw------- data/config.yaml ", "-rw------- etc/site.conf ",
		"data/server/manifests/site-a/chart-podinfo-1.yaml", "data/server/manifests/site-a/manifest-namespace.yaml",
		"data/agent/images/site-a.txt", "data/trust/trust.json", "accepted 1.0.0",
		"image example.com/base:1.0.0", "image example.com/top:latest", `"io.cri-containerd.pinned":"pinned"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "staging") {
		t.Error("staging folder is left")
	}

	t.Run("again", func(t *testing.T) {
		if _, err := Run(context.Background(), s.options("a.airgap")); err != nil {
			t.Fatal(err)
		}
		if again := s.fingerprint(t); again != got {
			t.Errorf("an install of the same changed something:\n%s\nwas\n%s", again, got)
		}
	})
	t.Run("without key, which is known by now", func(t *testing.T) {
		o := s.options("a.airgap")
		o.Keys = nil
		if _, err := Run(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("uninstall", func(t *testing.T) {
		err := Uninstall(context.Background(), UninstallOptions{DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin")})
		if err != nil {
			t.Fatal(err)
		}
		if left := s.fingerprint(t); left != "drwxr-xr-x etc\n"+"-rw-r----- etc/site.conf "+sumOf(t, "before")+"\ndrwxr-xr-x systemd\ndrwxr-xr-x bin" {
			t.Errorf("left:\n%s", left)
		}
		err = Uninstall(context.Background(), UninstallOptions{DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin")})
		if !errors.Is(err, ErrNotInstalled) {
			t.Errorf("second uninstall: %v", err)
		}
	})
}

func sumOf(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := fileSHA256(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// What must not be installed leaves no trace, on a bare machine as on one that has a node.
func TestRefused(t *testing.T) {
	s := newSite(t)
	good := s.content(t, "1.5.0")
	s.build(t, "good.airgap", good, s.key)
	s.build(t, "unsigned.airgap", s.content(t, "1.6.0"))
	s.build(t, "other.airgap", s.content(t, "1.6.0"), s.other)
	s.build(t, "old.airgap", s.content(t, "1.4.0"), s.key)
	data, err := os.ReadFile(s.path("good.airgap"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(file string, data []byte) {
		if err := os.WriteFile(s.path(file), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	flipped := bytes.Clone(data)
	flipped[len(flipped)-3<<10] ^= 1 // in the last layer
	write("flipped.airgap", flipped)
	write("truncated.airgap", data[:len(data)/2])
	write("longer.airgap", append(bytes.Clone(data), 0))
	escaping := s.content(t, "1.6.0")
	escaping.Manifest.Files[0].Target = s.path("etc-not/x")
	s.build(t, "escaping.airgap", escaping, s.key)
	s.build(t, "bare.airgap", s.contentOnly(t, "1.6.0"), s.key)

	tests := []struct {
		name   string
		file   string
		change func(*Options)
		want   error
	}{
		{"missing", "none.airgap", nil, ErrUsage},
		{"flipped byte", "flipped.airgap", nil, bundle.ErrDigest},
		{"truncated", "truncated.airgap", nil, bundle.ErrTruncated},
		{"data after the end", "longer.airgap", nil, bundle.ErrFormat},
		{"unsigned", "unsigned.airgap", nil, signing.ErrUnsigned},
		{"other key", "other.airgap", nil, signing.ErrUntrusted},
		{"signed by an unknown key, unsigned allowed", "other.airgap", func(o *Options) { o.AllowUnsigned = true }, signing.ErrUntrusted},
		{"file outside", "escaping.airgap", nil, ErrRefused},
		{"agent data dir relative", "good.airgap", func(o *Options) { o.Server.DataDir = "x" }, ErrUsage},
		{"init", "good.airgap", func(o *Options) { o.Init = "upstart" }, ErrUsage},
	}
	run := func(t *testing.T) {
		before := s.fingerprint(t)
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				o := s.options(test.file)
				if test.change != nil {
					test.change(&o)
				}
				_, err := Run(context.Background(), o)
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if after := s.fingerprint(t); after != before {
					t.Errorf("changed something:\n%s\nwas\n%s", after, before)
				}
			})
		}
	}
	t.Run("bare machine", run)
	t.Run("bare machine, no distribution", func(t *testing.T) {
		var preflight *PreflightError
		if _, err := Run(context.Background(), s.options("bare.airgap")); !errors.As(err, &preflight) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("bare machine, no key", func(t *testing.T) {
		o := s.options("good.airgap")
		o.Keys = nil
		if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) {
			t.Errorf("error %v", err)
		}
	})
	if _, err := Run(context.Background(), s.options("good.airgap")); err != nil {
		t.Fatal(err)
	}
	t.Run("installed", run)
	t.Run("older", func(t *testing.T) {
		o := s.options("old.airgap")
		if _, err := Run(context.Background(), o); !errors.Is(err, ErrRefused) {
			t.Errorf("error %v", err)
		}
		o.AllowDowngrade = true
		if _, err := Run(context.Background(), o); err != nil {
			t.Errorf("allowed: %v", err)
		}
		if got := s.fingerprint(t); !strings.Contains(got, "accepted 1.5.0") {
			t.Error("the highest accepted version was lowered")
		}
	})
	t.Run("key outside the trust store", func(t *testing.T) {
		o := s.options("other.airgap")
		o.Keys = []signing.PublicKey{s.other.Public()}
		if _, err := Run(context.Background(), o); !errors.Is(err, ErrRefused) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("unsigned allowed", func(t *testing.T) {
		o := s.options("unsigned.airgap")
		o.AllowUnsigned = true
		report, err := Run(context.Background(), o)
		if err != nil || !report.Unsigned {
			t.Errorf("report %+v, error %v", report, err)
		}
	})
}

// A newer version of a bundle takes the place of the older one, and what it no longer has goes.
func TestUpgrade(t *testing.T) {
	s := newSite(t)
	s.build(t, "1.airgap", s.content(t, "1.0.0"), s.key)
	s.build(t, "2.airgap", s.content(t, "2.0.0"), s.key)
	for _, file := range []string{"1.airgap", "2.airgap"} {
		if _, err := Run(context.Background(), s.options(file)); err != nil {
			t.Fatal(err)
		}
	}
	got := s.fingerprint(t)
	for want, count := range map[string]int{
		"chart-podinfo-1.yaml": 0, "chart-podinfo-2.yaml": 1, "accepted 2.0.0": 1,
		"image example.com/top:latest": 1, "image example.com/base:1.0.0": 1, "image example.com/base:2.0.0": 1,
	} {
		if strings.Count(got, want) != count {
			t.Errorf("%q is there %d times, want %d:\n%s", want, strings.Count(got, want), count, got)
		}
	}
	if err := Uninstall(context.Background(), UninstallOptions{DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin")}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(s.path("etc/site.conf")); string(data) != "before" {
		t.Errorf("the file that the first version replaced is now %q, %v", data, err)
	}
}

func TestPlanChangesNothing(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	before := s.fingerprint(t)
	list, err := Plan(context.Background(), s.options("a.airgap"))
	if err != nil || len(list) != serverSteps {
		t.Fatalf("%d steps, %v", len(list), err)
	}
	for _, step := range list {
		if step.About == "" {
			t.Errorf("step %s does not say what it does", step.Name)
		}
	}
	if after := s.fingerprint(t); after != before {
		t.Errorf("changed something:\n%s", after)
	}
}
