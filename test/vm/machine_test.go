package vm_test

import (
	"strings"
	"testing"
	"time"

	"airgap/test/vm"
)

// A machine boots, runs what it is told, loses its power, and boots again with what it had flushed.
func TestMachine(t *testing.T) {
	m := vm.Start(t, vm.Debian12)
	if got := m.Run("uname -s; cat /etc/debian_version; ls /sys/class/net"); !strings.HasPrefix(got, "Linux\n12.") || !strings.HasSuffix(got, "\nlo") {
		t.Errorf("it says %q, want a Debian 12 with nothing but a loopback interface", got)
	}
	if out, code := m.Try("echo no >&2; exit 7"); out != "no\n" || code != 7 {
		t.Errorf("code %d and %q, want 7 and what was printed", code, out)
	}
	m.Plug(vm.NewStick(t, vm.FAT32, "machine_test.go"))
	m.Run("mount -o ro /dev/disk/by-label/AIRGAP /mnt && grep -q TestMachine /mnt/machine_test.go && umount /mnt")

	m.Run("echo flushed >/root/flushed && sync && for i in $(seq 200); do head -c 64K /dev/urandom >/root/lost$i; done; echo noted >/dev/virtio-ports/notes")
	m.CutPower()
	m.Boot()
	if got := m.Run("cat /root/flushed"); got != "flushed" {
		t.Errorf("the flushed file says %q", got)
	}
	if got := m.Run("cat /root/lost* | wc -c"); got == "13107200" {
		t.Error("all that was never flushed has survived: that is no power cut")
	}
	if notes := m.Notes(); len(notes) != 1 || notes[0] != "noted" {
		t.Errorf("notes: %q", notes)
	}
	m.Shutdown(2 * time.Minute)
}

// Every kind of machine can be made from Debian's packages.
func TestImages(t *testing.T) {
	for _, image := range []vm.Image{vm.Debian12, vm.OpenRC, vm.Minimal, vm.Debian13, vm.Debian11} {
		t.Run(image.Name, func(t *testing.T) { vm.New(t, vm.Hardware{Image: image}) })
	}
}
