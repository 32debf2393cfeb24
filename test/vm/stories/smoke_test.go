package stories

import (
	"testing"

	"airgap/test/vm"
)

// The first and shortest story: a stick, a bare Debian, no network, and no more add-ons than podinfo needs.
func TestFromStickToSite(t *testing.T) {
	fromStickToSite(t, vm.Debian12, vm.FAT32, "--disable=traefik,metrics-server,local-storage")
}
