package stories

import (
	"testing"

	"airgap/test/vm"
)

// The same on every other kind of machine and stick.
func TestOtherMachines(t *testing.T) {
	for _, kind := range []struct {
		image  vm.Image
		format vm.Format
	}{
		{vm.Minimal, vm.FAT32},
		{vm.Debian13, vm.ExFAT},
		{vm.OpenRC, vm.Ext4},
		{vm.Debian11, vm.FAT32},
	} {
		t.Run(kind.image.Name, func(t *testing.T) { fromStickToSite(t, kind.image, kind.format) })
	}
}
