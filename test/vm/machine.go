package vm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"airgap/test/disk"
)

// Hardware says what a machine is. Zero values are those of a small industrial computer.
type Hardware struct {
	Image     Image
	MemoryMiB int       // 4096
	CPUs      int       // 2
	Clock     time.Time // what the real-time clock says when it is switched on; zero: the host's
	Saved     string    // the folder of [Machine.Save] whose disk it begins with; empty: the image's
}

const (
	// bootPatience is for a machine to be at its login on a busy host; it takes 20 s on an idle one.
	bootPatience = 5 * time.Minute
	// scriptPatience is for a script of which nothing else is said.
	scriptPatience = 25 * time.Minute
)

// Machine is one machine of the room. Its methods end the test if the machine does not do what they say.
type Machine struct {
	Hardware Hardware
	Login    time.Duration // from switching it on to the login prompt, at the last boot

	t      testing.TB
	folder string // sockets and disk
	image  cached
	disk   *disk.Disk
	power  *power // nil: it is off
	sticks int
	notes  notes
}

// Start makes a machine with an image and boots it.
func Start(t testing.TB, image Image) *Machine {
	t.Helper()
	m := New(t, Hardware{Image: image})
	m.Boot()
	return m
}

// New makes a machine that is off. It is gone with the test.
func New(t testing.TB, hardware Hardware) *Machine {
	t.Helper()
	if hardware.MemoryMiB == 0 {
		hardware.MemoryMiB = 4096
	}
	if hardware.CPUs == 0 {
		hardware.CPUs = 2
	}
	image, err := hardware.Image.build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Hardware: hardware, t: t, image: image}
	if m.folder, err = os.MkdirTemp("", "airgap-vm-"); err != nil { // not t.TempDir: sockets have short names
		t.Fatal(err)
	}
	t.Cleanup(m.remove)
	seed := rand.Uint64()
	if m.disk, err = disk.New(image.disk, m.folder, seed); err != nil {
		t.Fatal(err)
	}
	if hardware.Saved != "" {
		if err := m.disk.Restore(hardware.Saved); err != nil {
			t.Fatalf("the saved disk: %v", err)
		}
	}
	t.Logf("%s, %d MiB, %d CPUs, %s; what a power cut loses is drawn from %#x", hardware.Image.Name, hardware.MemoryMiB, hardware.CPUs, accelerator(), seed)
	return m
}

func (m *Machine) remove() {
	if m.power != nil {
		if m.t.Failed() {
			m.t.Logf("the end of the machine's console:\n%s", m.power.console.tail(60))
		}
		m.power.off()
	}
	if m.disk != nil {
		_ = m.disk.Close()
	}
	if err := os.RemoveAll(m.folder); err != nil {
		m.t.Error(err)
	}
}

// Boot switches the machine on and waits for its login prompt.
func (m *Machine) Boot() {
	m.t.Helper()
	if m.power != nil {
		m.t.Fatal("the machine is already on")
	}
	began := time.Now()
	p, err := m.switchOn()
	if err != nil {
		m.t.Fatalf("switching the machine on: %v", err)
	}
	m.power = p
	if err := p.console.await("login:", bootPatience); err != nil {
		m.t.Fatalf("booting: %v; QEMU says %q", err, p.said.String())
	}
	m.Login = time.Since(began)
	if err := p.hands.ready(bootPatience); err != nil {
		m.t.Fatalf("the machine is at its login, and runs no commands: %v", err)
	}
	m.t.Logf("at its login after %.1f s", m.Login.Seconds())
}

// CutPower ends the machine at once. See package disk for what its disk has then.
func (m *Machine) CutPower() {
	m.t.Helper()
	if m.power == nil {
		m.t.Fatal("the machine is off")
	}
	m.power.off()
	m.power = nil
	cached, lost, err := m.disk.Cut()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("power cut: %d of %d blocks that were not flushed are lost", lost, cached)
}

// Reboot boots the machine anew as an administrator does.
func (m *Machine) Reboot() {
	m.t.Helper()
	if m.power == nil {
		m.t.Fatal("the machine is off")
	}
	if err := m.power.hands.send("reboot"); err != nil {
		m.t.Fatal(err)
	}
	if err := m.power.hands.ready(bootPatience); err != nil {
		m.t.Fatalf("not up again after a reboot: %v", err)
	}
}

// Shutdown powers the machine off as an administrator does, and returns how long that took.
func (m *Machine) Shutdown(patience time.Duration) time.Duration {
	m.t.Helper()
	if m.power == nil {
		m.t.Fatal("the machine is off")
	}
	began := time.Now()
	if err := m.power.hands.send("poweroff"); err != nil {
		m.t.Fatal(err)
	}
	select {
	case <-m.power.ended:
	case <-time.After(patience):
		m.t.Fatalf("not off %s after poweroff", patience)
	}
	m.power.off()
	m.power = nil
	if err := m.disk.Flush(); err != nil {
		m.t.Fatal(err)
	}
	return time.Since(began)
}

// Save writes the disk of a machine that was switched off in order into an existing folder, for others of the same image
// that begin with it; it is of no use any more when what the image is made from has changed.
func (m *Machine) Save(folder string) {
	m.t.Helper()
	if m.power != nil {
		m.t.Fatal("the machine is on")
	}
	if err := m.disk.Save(folder); err != nil {
		m.t.Fatalf("saving the disk: %v", err)
	}
}

// Run runs a bash script on the machine as root and returns what it printed. It must end with code 0, within 25 minutes, which is more than an install waits.
func (m *Machine) Run(script string) string {
	m.t.Helper()
	out, code := m.Try(script)
	if code != 0 {
		m.t.Fatalf("%s\nends with code %d:\n%s", script, code, out)
	}
	return strings.TrimSuffix(out, "\n")
}

// Try is Run for a script that may end with another code.
func (m *Machine) Try(script string) (out string, code int) {
	m.t.Helper()
	if m.power == nil {
		m.t.Fatal("the machine is off")
	}
	out, code, err := m.power.hands.run(script, scriptPatience)
	if err != nil {
		m.t.Fatalf("%s\n%v", script, err)
	}
	return out, code
}

// Begin starts a script on the machine, for as long as that has power. What it prints is on the machine in /run/NAME.log.
func (m *Machine) Begin(name, script string) {
	m.t.Helper()
	m.Run(fmt.Sprintf("cat >/run/%[1]s <<'the end of the script'\n%[2]s\nthe end of the script\nsetsid bash /run/%[1]s >/run/%[1]s.log 2>&1 </dev/null &", name, script))
}

// Eventually runs a script until it ends with code 0, and returns what it printed then.
func (m *Machine) Eventually(patience time.Duration, script string, explain ...string) string {
	m.t.Helper()
	for end := time.Now().Add(patience); ; {
		out, code := m.Try(script)
		if code == 0 {
			return strings.TrimSuffix(out, "\n")
		}
		if time.Now().After(end) {
			for _, script := range explain {
				more, _ := m.Try(script)
				out += more
			}
			m.t.Fatalf("not within %s: %s\nends with code %d:\n%s", patience, script, code, out)
		}
		time.Sleep(time.Second)
	}
}

// Plug plugs a stick into the machine and waits until that has found it, as /dev/disk/by-label/AIRGAP.
func (m *Machine) Plug(s *Stick) {
	m.t.Helper()
	m.sticks++
	s.device = fmt.Sprintf("stick%d", m.sticks)
	err := m.power.monitor.do("blockdev-add", map[string]any{"driver": "file", "node-name": s.device, "filename": s.path})
	if err == nil {
		err = m.power.monitor.do("device_add", map[string]any{"driver": "usb-storage", "id": "usb-" + s.device, "drive": s.device, "removable": true})
	}
	if err != nil {
		m.t.Fatalf("plugging the stick in: %v", err)
	}
	m.Eventually(time.Minute, "test -e /dev/disk/by-label/"+stickLabel)
}

// Unplug pulls the stick out, whatever is being done with it.
func (m *Machine) Unplug(s *Stick) {
	m.t.Helper()
	if err := m.power.monitor.do("device_del", map[string]any{"id": "usb-" + s.device}); err != nil {
		m.t.Fatalf("pulling the stick out: %v", err)
	}
}

// Notes are the lines that the machine has written to /dev/virtio-ports/notes since it was made: what is known outside
// of it and survives whatever happens to it.
func (m *Machine) Notes() []string { return m.notes.all() }
