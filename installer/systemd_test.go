package installer

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/node/kernel"
)

func TestUnitFile(t *testing.T) {
	text, err := unitFile(config.PathsOf("/srv/airgap"), "server")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ExecStart=/srv/airgap/current/bin/airgap server --data-dir /srv/airgap --config /srv/airgap/config.yaml\n",
		"ExecStartPre=-/bin/sh -c 'test ! -e /srv/airgap/install/trial.json || exec /srv/airgap/previous/bin/airgap trial --data-dir /srv/airgap'\n",
		"exec /srv/airgap/current/bin/airgap stop-pods --data-dir /srv/airgap'\n",
		"StartLimitIntervalSec=0\n", "KillMode=process\n", "Delegate=yes\n", "Restart=always\n", "Type=notify\n", "RequiresMountsFor=/srv/airgap\n",
		"WatchdogSec=600\n", " time-set.target ",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for _, never := range []string{"network-online", "time-sync", "%!"} {
		if strings.Contains(string(text), never) {
			t.Errorf("%q in:\n%s", never, text)
		}
	}
	if _, err := unitFile(config.PathsOf("/srv/a b"), "agent"); !errors.Is(err, ErrUsage) {
		t.Errorf("a path with a space: %v", err)
	}
}

// TestUnitFileIsUnderstood has systemd's own parser read it, where there is one.
func TestUnitFileIsUnderstood(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here; test/vm runs the unit")
	}
	dir, err := os.MkdirTemp("/var/tmp", "ag")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	paths := config.PathsOf(dir)
	if err := os.MkdirAll(filepath.Join(paths.Current(), "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/true", filepath.Join(paths.Current(), "bin", "airgap")); err != nil {
		t.Fatal(err)
	}
	text, err := unitFile(paths, "server")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, "airgap-test.service")
	if err := os.WriteFile(unit, text, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), unit) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestKernelFiles(t *testing.T) {
	files := kernelFiles("/etc", config.PathsOf(config.DefaultDataDir))
	if files[0].target != "/etc/modules-load.d/airgap.conf" || !strings.HasSuffix(string(files[0].data), "\noverlay\nbr_netfilter\n") {
		t.Errorf("%s:\n%s", files[0].target, files[0].data)
	}
	settings := string(files[1].data)
	if files[1].target != "/etc/sysctl.d/airgap.conf" || files[1].target < "/etc/sysctl.d/99-sysctl.conf" {
		t.Errorf("%s does not win over /etc/sysctl.conf", files[1].target)
	}
	for _, s := range kernel.Settings {
		if written := strings.Contains(settings, s.Name+" = "+s.Value+"\n"); written == s.Protected {
			t.Errorf("%s (protected: %v) is written: %v", s.Name, s.Protected, written)
		}
	}
}

// TestOpenRCScript has a shell read the script, with OpenRC's functions told rather than run.
func TestOpenRCScript(t *testing.T) {
	dir := t.TempDir()
	paths := config.PathsOf("/srv/airgap")
	service := &openRC{supervised: supervised{paths: paths, verb: "server", config: paths.ConfigFile(), host: hostinfo.This()}, etc: dir}
	files, err := service.files()
	if err != nil {
		t.Fatal(err)
	}
	if files[0].target != filepath.Join(dir, "init.d", paths.UnitName()) || files[0].mode != 0o755 || files[1].link != files[0].target {
		t.Errorf("script %+v, link %+v", files[0].target, files[1])
	}
	script := filepath.Join(dir, "script")
	told := `for f in need use after keyword ebegin eend checkpath start-stop-daemon; do eval "$f() { echo $f \"\$@\"; }"; done
yesno() { test "$1" = YES; }
/srv/airgap/current/bin/airgap() { echo airgap "$@"; }
`
	if err := os.WriteFile(script, append([]byte(told), files[0].data...), 0o644); err != nil {
		t.Fatal(err)
	}
	ask := func(call string) string {
		out, err := exec.Command("bash", "-c", ". "+script+"; "+call).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", call, err, out)
		}
		return string(out)
	}
	if got := ask("start"); !strings.Contains(got, "start-stop-daemon --start --background") ||
		!strings.Contains(got, "-- supervise --pid-file /run/"+paths.ID+"/supervise.pid --log /srv/airgap/airgap.log --watchdog 10m0s --trial /srv/airgap -- /srv/airgap/current/bin/airgap server --data-dir /srv/airgap") {
		t.Error(got)
	}
	if got := ask("stop"); !strings.Contains(got, "--stop") || strings.Contains(got, "stop-pods") {
		t.Errorf("a stop must leave the pods alone: %s", got)
	}
	if got := ask("RC_GOINGDOWN=YES; stop"); !strings.Contains(got, "airgap stop-pods --data-dir /srv/airgap") {
		t.Errorf("a shutdown must stop the pods: %s", got)
	}
	// Debian's way down: `openrc off`, which sets nothing.
	off := filepath.Join(dir, "openrc")
	if err := os.WriteFile(off, []byte("#!/bin/sh\nsleep 60 & trap \"kill $!\" EXIT TERM; wait\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(off, "off")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(ask("stop"), "airgap stop-pods --data-dir /srv/airgap"); {
		if time.Now().After(end) {
			t.Fatal("`openrc off` must stop the pods")
		}
	}
	service.paths.DataDir = "/srv/a b"
	if _, err := service.files(); !errors.Is(err, ErrUsage) {
		t.Errorf("a path with a space: %v", err)
	}
}
