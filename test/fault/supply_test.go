package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"airgap/test/disk"
	"airgap/test/site"
)

// supply is the power of a machine whose data folder is on a disk of its own, which loses what was not flushed when it is cut.
type supply struct {
	disk *disk.Attached
	on   *disk.Mounted // nil: the power is off
	when *rand.Rand    // it is cut

	saved string // the folder of what the disk is at the begin of each chain
}

// newPowered makes a machine with a disk of its own, which is on and bare.
func newPowered(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp(folder, "disk-")
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "image")
	if err := disk.Blank(image, 16<<30); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	m := &machine{Node: site.New(t, "node-1")[0], supply: &supply{when: rand.New(rand.NewPCG(seed, 1))}, half: fromStart}
	if m.disk, err = disk.Attach(image, dir, seed); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.takeDown()
		if err := errors.Join(m.disk.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	t.Logf("when the power is cut, and what that loses, is drawn from %#x", seed)
	m.switchOn()
	m.readSteps(m.InstallArgs(demo)...)
	return m
}

// takeDown leaves nothing of what was installed, on the disk or beside it.
func (m *machine) takeDown() {
	if m.on == nil {
		m.switchOn()
	}
	if _, err := os.Lstat(m.Paths.Current()); err == nil {
		m.Verb("uninstall", "--yes")
	}
	_ = os.Remove(hostFile) // of an install that had not come to it
	m.unplug()
}

// switchOn mounts the disk, which the kernel recovers first.
func (m *machine) switchOn() {
	m.T.Helper()
	var err error
	if m.on, err = m.disk.Mount(m.Paths.DataDir, filepath.Join(filepath.Dir(m.Paths.DataDir), "disk")); err != nil {
		m.T.Fatal(err)
	}
}

// boot switches on, and starts the node if one is to be started at boot.
func (m *machine) boot() {
	m.T.Helper()
	m.switchOn()
	if _, err := os.Lstat(m.Paths.Current()); err == nil {
		m.StartNode("server")
	}
}

// cutPower ends all at once. What it says is what was lost.
func (m *machine) cutPower() string {
	m.T.Helper()
	if err := m.on.PowerOff(); err != nil {
		m.T.Fatal(err)
	}
	m.unplug()
	cached, lost, err := m.disk.Cut()
	if err != nil {
		m.T.Fatal(err)
	}
	return fmt.Sprintf("%d of %d blocks that were not flushed are lost", lost, cached)
}

// switchOff ends all in order, with nothing left in the disk's cache.
func (m *machine) switchOff() {
	m.T.Helper()
	m.StopNode()
	m.unplug()
	if err := m.disk.Flush(); err != nil {
		m.T.Fatal(err)
	}
}

// unplug kills all that runs, and unmounts the disk.
func (m *machine) unplug() {
	m.T.Helper()
	m.Reboot()
	on := m.on
	m.on = nil
	if err := on.Unmount(); err != nil {
		m.T.Fatal(err)
	}
}

// save keeps the disk of a machine that is off, for each that begins while the test runs.
func (m *machine) save(t *testing.T) {
	t.Helper()
	var err error
	if m.saved, err = os.MkdirTemp(folder, "saved-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(m.saved) })
	if err := m.disk.Save(m.saved); err != nil {
		t.Fatal(err)
	}
}
