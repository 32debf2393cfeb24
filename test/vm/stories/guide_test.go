package stories

import (
	"os"
	"regexp"
	"testing"

	"airgap/test/site"
	"airgap/test/vm"
)

// The technician's guide is followed to the letter: each of its blocks, in its order, must succeed as it stands.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile(site.Built("docs/install.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	if len(blocks) < 8 {
		t.Fatalf("%d blocks of commands in the guide, want more", len(blocks))
	}
	m := vm.Start(t, vm.Debian12)
	m.Plug(siteStick(t, vm.FAT32))
	for _, block := range blocks {
		if block[1] == "systemctl reboot\n" {
			m.Reboot()
			m.Eventually(healthyPatience, healthy, explain) // a technician reads on meanwhile
			continue
		}
		t.Logf("%s%s", block[1], m.Run("set -e\n"+block[1]))
	}
}
