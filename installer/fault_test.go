package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"airgap/internal/hostinfo"
	"airgap/signing"
)

// Environment of a test process that installs and kills itself on the way.
const (
	envSite   = "AIRGAP_TEST_SITE"   // the site's folder
	envBundle = "AIRGAP_TEST_BUNDLE" // the bundle's file name
	envPoint  = "AIRGAP_TEST_POINT"  // the point, by number, at which the process kills itself
	envServer = "AIRGAP_TEST_SERVER" // the server to join; empty: none
	envToken  = "AIRGAP_TEST_TOKEN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envSite); dir != "" {
		installAndDie(dir)
	}
	os.Exit(m.Run())
}

// installAndDie installs, and is killed at the point the environment names.
func installAndDie(dir string) {
	o := siteOptions(dir, os.Getenv(envBundle))
	install := func(ctx context.Context, o Options) error { _, err := Run(ctx, o); return err }
	if server := os.Getenv(envServer); server != "" {
		joinOptions(&o, server, os.Getenv(envToken))
		install = func(ctx context.Context, o Options) error { _, err := Join(ctx, o); return err }
	}
	data, err := os.ReadFile(dir + "/site.pub")
	if err != nil {
		panic(err)
	}
	key, err := signing.ParsePublicKey(data)
	if err != nil {
		panic(err)
	}
	o.Keys = []signing.PublicKey{key}
	last, err := strconv.Atoi(os.Getenv(envPoint))
	if err != nil {
		panic(err)
	}
	passed := 0
	o.fault = func(string) error {
		if passed++; passed > last {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	err = install(context.Background(), o)
	fmt.Fprintln(os.Stderr, "was not killed:", err)
	os.Exit(1)
}

// points installs the bundle on a site made by prepare, and returns the points passed: each one once, for
// many entries of a bundle are taken alike.
func points(t *testing.T, s *testSite, file string) (names []string, numbers []int) {
	t.Helper()
	return pointsOf(t, s.options(file), func(o Options) error { _, err := Run(context.Background(), o); return err })
}

// pointsOf is points of any install.
func pointsOf(t *testing.T, o Options, install func(Options) error) (names []string, numbers []int) {
	t.Helper()
	seen := map[string]bool{}
	number := 0
	o.fault = func(point string) error {
		if !seen[point] {
			seen[point] = true
			names, numbers = append(names, point), append(numbers, number)
		}
		number++
		return nil
	}
	if err := install(o); err != nil {
		t.Fatal(err)
	}
	return names, numbers
}

func (s *testSite) uninstall(t *testing.T) {
	t.Helper()
	err := Uninstall(context.Background(), UninstallOptions{DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin")})
	if err != nil && !errors.Is(err, ErrNotInstalled) {
		t.Fatal(err)
	}
}

// A process killed at any point leaves a machine on which a second run of the same bundle comes to
// the same end as one that was never interrupted, and on which nothing is visible too early.
func TestKilledAnywhere(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	names, numbers := points(t, s, "a.airgap")
	want := s.fingerprint(t)
	if len(names) < 2*serverSteps {
		t.Fatalf("only %d points: %v", len(names), names)
	}
	switched, linked := false, false
	for i, name := range names {
		if strings.HasSuffix(name, " begins") {
			continue // as at the end of the step before
		}
		s.uninstall(t)
		kill(t, s, "a.airgap", numbers[i])
		switched = switched || name == "images visible"
		if images := s.images(t); !switched && len(images) > 0 {
			t.Errorf("killed at %q: images are visible: %v", name, images)
		}
		if linked = linked || name == "switch ends"; !linked {
			if _, err := os.Lstat(s.paths().Current()); err == nil {
				t.Errorf("killed at %q: %s is there", name, s.paths().Current())
			}
		}
		if _, err := os.Lstat(s.paths().Trust()); err == nil && !strings.HasPrefix(name, "commit") {
			t.Errorf("killed at %q: the trust store is there", name)
		}
		if _, err := Run(context.Background(), s.options("a.airgap")); err != nil {
			t.Errorf("killed at %q, run again: %v", name, err)
			continue
		}
		if got := s.fingerprint(t); got != want {
			t.Errorf("killed at %q, run again:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// kill runs an install in a process that kills itself after a number of points.
func kill(t *testing.T, s *testSite, file string, point int, more ...string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(append(os.Environ(), more...), envSite+"="+s.dir, envBundle+"="+file, envPoint+"="+strconv.Itoa(point))
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child ended by itself: %v\n%s", err, out)
	}
}

// An install that fails at any point before the switch is undone: a bare machine is bare again, one with
// a node has the node it had. After the switch it is completed by another run.
func TestFailsAnywhere(t *testing.T) {
	s := newSite(t)
	s.build(t, "1.airgap", s.content(t, "1.0.0"), s.key)
	s.build(t, "2.airgap", s.content(t, "2.0.0"), s.key)
	bare := s.fingerprint(t)
	names, _ := points(t, s, "1.airgap")
	installed := s.fingerprint(t)
	s.uninstall(t)

	failure := errors.New("input/output error")
	fail := func(t *testing.T, file, point string) {
		o := s.options(file)
		o.fault = func(at string) error {
			if at == point {
				return failure
			}
			return nil
		}
		if _, err := Run(context.Background(), o); !errors.Is(err, failure) {
			t.Errorf("failed at %q: error %v", point, err)
		}
	}
	for _, name := range names {
		if name == "switch done" {
			break
		}
		fail(t, "1.airgap", name)
		if got := s.fingerprint(t); got != bare {
			t.Fatalf("failed at %q on a bare machine, left:\n%s\nwas\n%s", name, got, bare)
		}
	}
	if _, err := Run(context.Background(), s.options("1.airgap")); err != nil {
		t.Fatal(err)
	}
	if got := s.fingerprint(t); got != installed {
		t.Fatalf("an install after failed ones:\n%s\nwant\n%s", got, installed)
	}
	upgraded, _ := points(t, s, "2.airgap")
	if err := Rollback(context.Background(), RollbackOptions{Options: s.options("")}); err != nil {
		t.Fatal(err)
	}
	if _, err := pruneVersions(s.paths()); err != nil { // the version that was left stays until the next upgrade
		t.Fatal(err)
	}
	if got := s.fingerprint(t); got != installed {
		t.Fatalf("a rollback left:\n%s\nwant\n%s", got, installed)
	}
	for i, name := range upgraded {
		if name == "health: trial ended" {
			upgraded = upgraded[i:]
			break
		}
		fail(t, "2.airgap", name)
		if got := s.fingerprint(t); got != installed {
			t.Fatalf("failed at %q on a machine with a node, left:\n%s\nwas\n%s", name, got, installed)
		}
	}
	for _, name := range upgraded {
		if name != "commit wrote report" && name != "commit ended" {
			fail(t, "2.airgap", name)
		}
	}
	if _, err := Run(context.Background(), s.options("2.airgap")); err != nil {
		t.Fatal(err)
	}
	if got := s.fingerprint(t); !strings.Contains(got, "accepted 2.0.0") {
		t.Errorf("not completed:\n%s", got)
	}
}

// Interrupted by its user, an install keeps what it has, for the next run.
func TestInterrupted(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	ctx, cancel := context.WithCancel(context.Background())
	o := s.options("a.airgap")
	o.fault = func(point string) error {
		if point == "distribution ends" {
			cancel()
		}
		return nil
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if _, err := os.Stat(s.paths().Install() + "/journal"); err != nil {
		t.Errorf("nothing to continue from: %v", err)
	}
	if _, err := Run(context.Background(), s.options("a.airgap")); err != nil {
		t.Fatal(err)
	}
}

// Another bundle than the one that was interrupted before its switch takes its place as if that had
// never been.
func TestOtherBundleAfterKill(t *testing.T) {
	s := newSite(t)
	s.build(t, "1.airgap", s.content(t, "1.0.0"), s.key)
	s.build(t, "2.airgap", s.content(t, "2.0.0"), s.key)
	if _, err := Run(context.Background(), s.options("2.airgap")); err != nil {
		t.Fatal(err)
	}
	want := s.fingerprint(t)
	s.uninstall(t)
	_, numbers := points(t, s, "1.airgap")
	s.uninstall(t)
	kill(t, s, "1.airgap", numbers[len(numbers)/2])
	if _, err := Run(context.Background(), s.options("2.airgap")); err != nil {
		t.Fatal(err)
	}
	if got := s.fingerprint(t); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// An uninstall takes away all that an install has put on the machine which was killed before it was committed.
func TestUninstallAfterKill(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	bare := s.fingerprint(t)
	names, numbers := points(t, s, "a.airgap")
	s.uninstall(t)
	for i, name := range names {
		if !strings.HasSuffix(name, " ends") && !strings.HasPrefix(name, "commit ") {
			continue
		}
		kill(t, s, "a.airgap", numbers[i])
		for _, path := range []string{"data/.config.yaml.airgap.tmp", "data/current.new", "data/" + hostinfo.ProbePrefix + "0-1"} { // in the midst of writing
			if err := os.WriteFile(s.path(path), nil, 0o600); err != nil && exists(s.path("data")) {
				t.Fatal(err)
			}
		}
		s.uninstall(t)
		if got := s.fingerprint(t); got != bare {
			t.Fatalf("killed at %q, then uninstalled, left:\n%s\nwas\n%s", name, got, bare)
		}
	}
}

// What an import was writing when it was killed does not stay beside what the next one writes.
func TestKilledWhileStaging(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	if err := os.MkdirAll(s.paths().Install()+"/"+stagingName, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.paths().Install()+"/"+stagingName+"/"+incoming+"1", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := s.options("a.airgap")
	o.fault = func(point string) error {
		left, err := os.ReadDir(s.paths().Install() + "/" + stagingName)
		for _, entry := range left {
			if point == "import ends" && strings.HasPrefix(entry.Name(), incoming) {
				t.Errorf("%s is left", entry.Name())
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return err
	}
	if _, err := Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}
