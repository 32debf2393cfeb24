package stories

import (
	"testing"

	"airgap/test/vm"
)

// The same with everything, on every kind of machine and stick.
func TestKindsOfMachines(t *testing.T) {
	for _, kind := range []struct {
		image  vm.Image
		format vm.Format
	}{
		{vm.Debian12, vm.ExFAT},
		{vm.Minimal, vm.FAT32},
		{vm.Debian13, vm.Ext4},
		{vm.OpenRC, vm.FAT32},
		{vm.Debian11, vm.FAT32},
	} {
		t.Run(kind.image.Name, func(t *testing.T) { fromStickToSite(t, kind.image, kind.format) })
	}
}
