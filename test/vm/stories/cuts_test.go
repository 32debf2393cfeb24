package stories

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
	"airgap/test/vm"
)

// The power goes at any moment of an install, again and again: what is installed in the end is whole, without anybody's repair.
// Each install goes on where the last was cut; one that has ended is taken away, and the next begins from nothing.
func TestPowerCutsInInstall(t *testing.T) {
	m := vm.Start(t, vm.Debian12)
	m.Run(addressed)
	stick := siteStick(t, vm.FAT32)
	begin := func() {
		m.Plug(stick)
		m.Run(mount)
		m.Begin("install", install+` && touch /run/installed`)
	}
	began := time.Now()
	begin()
	m.Eventually(25*time.Minute, "test -e /run/installed")
	whole := time.Since(began)
	m.Run("airgap uninstall --yes && rm -f /run/installed && umount /media/stick")
	m.Unplug(stick)

	ended := 0
	for i := range *installCuts {
		begin()
		after := rand.N(whole)
		time.Sleep(after)
		journal, _ := m.Try("cat /run/install.log")
		_, code := m.Try("test -e /run/installed")
		m.CutPower()
		t.Logf("cut %d after %.1f s of an install: %s", i+1, after.Seconds(), lastLine(journal))
		m.Boot()
		if code != 0 {
			continue
		}
		ended++
		m.Eventually(healthyPatience, healthy, explain)
		m.Run("airgap uninstall --yes")
	}
	m.Plug(stick)
	m.Run(mount)
	m.Run(install)
	m.Eventually(time.Minute, healthy)
	t.Logf("%d cuts in installs, %d of which had just ended; the last one is whole", *installCuts, ended)
}

// The power goes at any moment of an upgrade, again and again: each time the node comes up by itself, as one version or the other, and the
// upgrade goes on. One that has ended is rolled back, and the next begins from there.
func TestPowerCutsInUpgrade(t *testing.T) {
	m := installed(t)
	stick := vm.NewStick(t, vm.FAT32, site.Version{Name: "second"}.Build(t, t.TempDir(), "1.1.0"))
	begin := func() {
		m.Plug(stick)
		m.Run(mount)
		m.Begin("upgrade", "airgap upgrade /media/stick/second.airgap --probation 10s && touch /run/upgraded")
	}
	const release = "cat /var/lib/airgap/current/release || echo first"
	back := func() {
		m.Run("airgap rollback --yes")
		m.Eventually(healthyPatience, healthy, explain)
	}
	began := time.Now()
	begin()
	m.Eventually(25*time.Minute, "test -e /run/upgraded")
	whole := time.Since(began)
	t.Logf("an upgrade that nothing disturbs takes %.0f s", whole.Seconds())
	m.Run("rm -f /run/upgraded && umount /media/stick")
	m.Unplug(stick)
	back()

	completed := 0
	for i := range *upgradeCuts {
		begin()
		after := rand.N(whole)
		time.Sleep(after)
		journal, _ := m.Try("cat /run/upgrade.log")
		m.CutPower()
		t.Logf("cut %d after %.1f s of an upgrade: %s", i+1, after.Seconds(), lastLine(journal))
		m.Boot()
		m.Eventually(healthyPatience, healthy, explain)
		if m.Run(release) == "second" {
			completed++
			back()
		}
	}
	begin()
	m.Eventually(25*time.Minute, "test -e /run/upgraded")
	m.Eventually(time.Minute, healthy)
	if got := m.Run(release); got != "second" {
		t.Errorf("version %q runs after the last upgrade", got)
	}
	t.Logf("%d cuts in upgrades, after %d of which the new version ran", *upgradeCuts, completed)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// writer creates ConfigMaps as fast as the API server takes them. What has been acknowledged is noted outside of the machine.
const writer = `airgap kubectl proxy --port=8001 &
exec 4>/dev/virtio-ports/notes
for i in $(seq 1000000); do
	name=round-%d-$i
	curl -sf -o /dev/null -H 'Content-Type: application/json' http://127.0.0.1:8001/api/v1/namespaces/default/configmaps \
		-d '{"metadata":{"name":"'$name'"},"data":{"value":"'$name'"}}' && echo $name >&4
done`

// kept prints name and value of each ConfigMap that the writer has written.
const kept = `airgap kubectl get configmaps -n default -o 'go-template={{range .items}}{{.metadata.name}} {{.data.value}}{{"\n"}}{{end}}' | grep ^round-`

// What the API server has acknowledged is there after the power was cut, whatever else was being written.
func TestPowerCutsUnderLoad(t *testing.T) {
	m := installed(t)
	for i := range *loadCuts {
		m.Begin("writer", fmt.Sprintf(writer, i+1))
		before := len(m.Notes())
		for end := time.Now().Add(2 * time.Minute); len(m.Notes()) < before+5; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the API server takes no writes")
			}
		}
		time.Sleep(rand.N(8 * time.Second))
		m.CutPower()
		acknowledged := m.Notes()
		m.Boot()
		m.Eventually(healthyPatience, healthy, explain)
		found := strings.Split(m.Run(kept), "\n")
		lost := 0
		for _, name := range acknowledged {
			if !slices.Contains(found, name+" "+name) {
				lost++
			}
		}
		t.Logf("cut %d: %d writes acknowledged in this round, %d in all, %d lost", i+1, len(acknowledged)-before, len(acknowledged), lost)
		if lost > 0 {
			t.Errorf("%d acknowledged writes are lost", lost)
		}
	}
}
