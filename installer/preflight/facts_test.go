package preflight_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// This machine is looked at for real, quickly, and is not said to lack what it cannot lack while this test runs.
func TestLook(t *testing.T) {
	s := subject()
	s.Server, s.Bundles, s.BinDir = config.NewServer(), nil, t.TempDir()
	s.Server.DataDir = t.TempDir()
	nft, _ := exec.LookPath("nft")
	best := time.Hour
	var facts preflight.Facts
	for range 5 {
		began := time.Now()
		var err error
		if facts, err = preflight.Look(hostinfo.This(), s, nft); err != nil {
			t.Fatal(err)
		}
		preflight.Judge(facts, s)
		best = min(best, time.Since(began))
	}
	t.Logf("%s", best)
	if best > 5*time.Second { // 50 ms on a machine that does nothing else
		t.Errorf("a look at the machine takes %s", best)
	}
	if facts.Root != (os.Geteuid() == 0) || facts.Data.Parent != s.Server.DataDir || facts.Data.Type == "" || facts.Data.TotalBytes == 0 || facts.KernelRelease == "" {
		t.Errorf("facts %+v", facts)
	}
	for _, f := range preflight.Judge(facts, s) {
		if f.Level == preflight.Fail && slices.Contains(strings.Fields("clock entropy disk inodes etc command data-dir"), f.Check) {
			t.Errorf("finding %s", f)
		}
	}
}
