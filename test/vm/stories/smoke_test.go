package stories

import (
	"testing"

	"airgap/test/vm"
)

// The first story: a stick, a bare Debian, no network.
func TestFromStickToSite(t *testing.T) { fromStickToSite(t, vm.Debian12, vm.FAT32) }
