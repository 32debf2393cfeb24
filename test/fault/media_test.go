package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"airgap/test/fault/trap"
	"airgap/test/site"
)

// stick is a file system on a block device, with the bundle on it.
type stick struct {
	t      *testing.T
	image  string // what backs the device
	folder string // where it is mounted
	bundle string // on it
}

// stickBytes holds the bundle, with what a file system takes.
const stickBytes = 600 << 20

// plugIn makes a stick and mounts it, so that nothing of it is in the page cache.
func plugIn(t *testing.T) *stick {
	t.Helper()
	s := &stick{t: t, image: filepath.Join(folder, "stick.img"), folder: filepath.Join(folder, "stick")}
	if err := os.WriteFile(s.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(s.image, stickBytes), os.MkdirAll(s.folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	s.bundle = filepath.Join(s.folder, filepath.Base(demo))
	site.MustOutput(t, exec.Command("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", s.image))
	s.mount("loop")
	t.Cleanup(s.pullOut)
	site.MustOutput(t, exec.Command("cp", demo, s.bundle))
	s.unmount()
	s.mount("loop,ro")
	return s
}

func (s *stick) mount(options string) {
	s.t.Helper()
	site.MustOutput(s.t, exec.Command("mount", "-o", options, s.image, s.folder))
}

func (s *stick) unmount() {
	s.t.Helper()
	site.MustOutput(s.t, exec.Command("umount", s.folder))
}

// lastByte is where the bundle ends on the device.
func (s *stick) lastByte() (end int64) {
	s.t.Helper()
	for line := range strings.Lines(site.MustOutput(s.t, exec.Command("filefrag", "-e", "-b1", s.bundle))) {
		var number, first, last, begin, to int64
		if n, _ := fmt.Sscanf(strings.ReplaceAll(line, ":", " "), "%d %d..%d %d..%d", &number, &first, &last, &begin, &to); n == 5 {
			end = max(end, to)
		}
	}
	if end == 0 {
		s.t.Fatal("nobody says where the bundle lies on its stick")
	}
	return end
}

// cut makes all of the device unreadable that lies behind so many bytes.
func (s *stick) cut(at int64) {
	if err := os.Truncate(s.image, at); err != nil {
		s.t.Error(err)
	}
}

// pullOut takes the stick away.
func (s *stick) pullOut() {
	_ = exec.Command("umount", "-l", s.folder).Run()
	_ = os.Remove(s.image)
}

// What cannot be read, or must not be used, is said in one message with the right exit code, and the machine is as before.
func TestMedia(t *testing.T) {
	m := &machine{Node: site.New(t, "node-1")[0], half: fromStart}
	t.Cleanup(func() { os.Remove(hostFile) })
	m.readSteps(m.InstallArgs(demo)...)
	importing := slices.Index(m.steps, "import")
	size := sizeOf(t, demo)
	goOn := func(int, int, trap.Call) trap.Answer { return trap.Answer{} }

	refuse := func(t *testing.T, code int, decide func(step, number int, c trap.Call) trap.Answer, bundle string, want ...string) {
		t.Helper()
		m := m.within(t)
		out := m.trappedCommand(trap.Options{}, decide, m.InstallArgs(bundle)...)
		if out.code() != code {
			t.Errorf("exit code %d, want %d", out.code(), code)
		}
		for _, text := range want {
			if !strings.Contains(out.said, text) {
				t.Errorf("it does not say %q", text)
			}
		}
		if strings.Count("\n"+out.said, "\nairgap: ") != 1 {
			t.Error("it does not say so in one message")
		}
		t.Logf("\n%s", out.said)
		m.wantBare(t)
	}

	t.Run("a bad sector", func(t *testing.T) {
		s := plugIn(t)
		s.cut(s.lastByte() - 8<<20)
		refuse(t, 1, goOn, s.bundle, s.bundle, "input/output error", "try another stick")
	})
	t.Run("pulled out in mid-read", func(t *testing.T) {
		s := plugIn(t)
		pulled := false
		refuse(t, 1, func(step, number int, _ trap.Call) trap.Answer {
			if step == importing && number > 500 && !pulled {
				pulled = true
				s.cut(0)
			}
			return trap.Answer{}
		}, s.bundle, s.bundle, "input/output error")
	})
	t.Run("half-copied", func(t *testing.T) {
		half := filepath.Join(folder, "half.airgap")
		site.MustOutput(t, exec.Command("cp", demo, half))
		if err := os.Truncate(half, size/2); err != nil {
			t.Fatal(err)
		}
		refuse(t, 3, goOn, half, half, "truncated")
	})
	t.Run("not there", func(t *testing.T) {
		refuse(t, 2, goOn, filepath.Join(folder, "gone.airgap"), "gone.airgap", "is the stick mounted?")
	})
	t.Run("changed on the way", func(t *testing.T) {
		changed := filepath.Join(folder, "changed.airgap")
		site.MustOutput(t, exec.Command("cp", demo, changed))
		file, err := os.OpenFile(changed, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteAt([]byte("these bytes nobody has signed"), size*2/3)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		refuse(t, 3, goOn, changed, "digest")
	})
	t.Run("of another architecture", func(t *testing.T) {
		other := filepath.Join(folder, "other.airgap")
		if err := buildOther(other); err != nil {
			t.Fatal(err)
		}
		refuse(t, 4, goOn, other, "linux/arm64")
	})
	t.Run("signed with another site's key", func(t *testing.T) {
		prefix := filepath.Join(folder, "stranger")
		m.Within(t).Airgap("keygen", "--output-key-prefix", prefix)
		args := m.InstallArgs(demo)
		args[slices.Index(args, "--key")+1] = prefix + ".pub"
		out := m.trappedCommand(trap.Options{}, goOn, args...)
		if out.code() != 3 {
			t.Errorf("exit code %d, want 3\n%s", out.code(), out.said)
		}
		m.wantBare(t)
	})
	t.Run("two installs at once", func(t *testing.T) { twoAtOnce(t, m, importing) })
	t.Run("an older version", func(t *testing.T) {
		onlyWithPoints(t)
		m := m.within(t)
		m.Install(demo) // goes on with what the test before has interrupted
		older := filepath.Join(folder, "older.airgap")
		if err := buildBundle(older, "0.9.0"); err != nil {
			t.Fatal(err)
		}
		said := m.Refuse(3, m.InstallArgs(older)...)
		for _, want := range []string{"0.9.0", "1.0.0", "--allow-downgrade"} {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q: %s", want, said)
			}
		}
		if err := m.Ready(); err != nil {
			t.Error(err)
		}
		m.Verb("uninstall", "--yes")
	})
}

// twoAtOnce starts an install while another one stands still in the middle of its import. The first is killed at last.
func twoAtOnce(t *testing.T, m *machine, importing int) {
	arrived, release := make(chan struct{}), make(chan struct{})
	ended := make(chan outcome)
	go func() {
		stands := false
		ended <- m.trapped(trap.Options{}, func(step, number int, _ trap.Call) trap.Answer {
			if step == importing && number > 500 && !stands {
				stands = true
				close(arrived)
				<-release
				return trap.Answer{Signal: unix.SIGKILL}
			}
			return trap.Answer{}
		})
	}()
	select {
	case <-arrived:
	case out := <-ended:
		t.Fatalf("%v\n%s", out.err, out.said)
	case <-time.After(site.Patience):
		t.Fatal("the first install does not come to its import")
	}
	said := m.Within(t).Refuse(4, m.InstallArgs(demo)...)
	for _, want := range []string{m.Paths.DataDir, "another install", fmt.Sprintf("process %d, since ", m.installer(t)), "--wait"} {
		if !strings.Contains(said, want) {
			t.Errorf("the second install does not say %q: %s", want, said)
		}
	}
	close(release)
	if out := <-ended; !out.killed() {
		t.Errorf("the first install: %v\n%s", out.err, out.said)
	}
}

// installer is the process of the install that goes on.
func (m *machine) installer(t *testing.T) int {
	t.Helper()
	pid, err := m.PID("install")
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// buildOther builds a bundle for another architecture.
func buildOther(path string) error {
	spec := filepath.Join(folder, "other.yaml")
	text := "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: other, version: 1.0.0}\nspec:\n  from: []\n  platforms: [linux/arm64]\n  manifests: [map.yaml]\n"
	if err := os.WriteFile(spec, []byte(text), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(site.Built("bin/airgap"), "build", "-f", spec, "-o", path, "--key", site.Built("dist/development.key"))
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=")
	_, err := site.Output(cmd)
	return err
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
