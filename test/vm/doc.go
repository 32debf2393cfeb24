// Package vm is a room of machines that tests switch on: whole Debian machines with their own kernel and init,
// under QEMU, without a network. A test reads as what is done to a machine on somebody's bench:
//
//	m := vm.Start(t, vm.Debian12)
//	m.Plug(vm.NewStick(t, vm.FAT32, "bin/airgap", "dist/system.airgap", "dist/development.pub"))
//	m.Run("mount -o ro /dev/disk/by-label/AIRGAP /mnt && /mnt/airgap install /mnt/system.airgap --key /mnt/development.pub")
//	m.CutPower()
//	m.Boot()
//	m.Eventually(5*time.Minute, "airgap status")
//
// # Images
//
// An [Image] is made from Debian's packages by mmdebstrap, once: it is cached in .cache/vm under a name that is the
// hash of all that it is made from. Machines never write to it.
//
// # What a power cut is
//
// The machine's disk is served to QEMU by the test itself, with a volatile write cache (package airgap/test/disk). [Machine.CutPower]
// kills QEMU and lets the disk lose half of what it was not told to flush.
//
// # Watching
//
// What a machine prints on its console is in /tmp/airgap-vm-*/console as long as the machine is there, and its end is in
// the test's output if that fails.
//
// # Time
//
// Nothing here needs hardware virtualisation. KVM is used if a machine really runs on it, which is tried. Otherwise
// QEMU emulates two processors, at a tenth of their speed or so: Debian 12 is at its login after 20 seconds. Every
// wait has an end, and QEMU ends with the test, whatever way that ends.
package vm
