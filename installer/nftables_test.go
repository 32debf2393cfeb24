package installer

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

func TestFirewallIsLeftAsItWas(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		testFirewall(t)
	}()
	<-done
}

func testFirewall(t *testing.T) {
	nft := func(args ...string) string {
		out, err := exec.Command("nft", args...).CombinedOutput()
		if err != nil {
			t.Errorf("nft %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	nft(`add table ip filter
		add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
		add rule ip filter FORWARD ip saddr 192.0.2.1 accept comment "theirs"`)
	before := nft("list", "ruleset")
	nft(`insert rule ip filter FORWARD ip saddr 10.42.0.0/16 accept comment "` + config.ForwardMarker + `"
		insert rule ip filter FORWARD ip daddr 10.42.0.0/16 accept comment "` + config.ForwardMarker + `"
		add table inet ` + config.PodTable)

	if err := removeMarkedRules(); err != nil {
		t.Error(err)
	}
	own := table{unix.NFPROTO_INET, config.PodTable}
	if err := own.remove(); err != nil {
		t.Error(err)
	}
	if err := own.remove(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removing a table twice gives %v", err)
	}
	if after := nft("list", "ruleset"); after != before {
		t.Errorf("the firewall was\n%sand is\n%s", before, after)
	}
}
