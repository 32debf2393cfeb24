package flannel

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/node/config"
)

func networks(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestConfiguration(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "net-conf.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, test := range map[string]struct {
		options Options
		kind    string
		mtu     int    // of the backend's own configuration; 0: not set
		want    string // of the error; empty: none
	}{
		"vxlan":            {options: Options{Backend: config.FlannelVXLAN, Cluster: networks("10.42.0.0/16")}, kind: "vxlan"},
		"vxlan over IPv6":  {options: Options{Backend: config.FlannelVXLAN, Cluster: networks("10.42.0.0/16", "fd42::/56")}, kind: "vxlan", mtu: 1480},
		"host-gw":          {options: Options{Backend: config.FlannelHostGW, Cluster: networks("fd42::/56")}, kind: "host-gw"},
		"wireguard":        {options: Options{Backend: config.FlannelWireGuard, Cluster: networks("10.42.0.0/16")}, kind: "wireguard"},
		"the user's":       {options: Options{Conf: file(`{"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7}}`)}, kind: "vxlan"},
		"missing":          {options: Options{Conf: "/nowhere/net-conf.json"}, want: "flannel-conf"},
		"broken":           {options: Options{Conf: file(`{"Network":`)}, want: "net-conf.json"},
		"without networks": {options: Options{Conf: file(`{"Backend": {"Type": "vxlan"}}`)}, want: "Network"},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := test.options.configuration(1500)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want one with %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var backend struct{ MTU int }
			if err := json.Unmarshal(conf.Backend, &backend); err != nil {
				t.Fatal(err)
			}
			if conf.BackendType != test.kind || backend.MTU != test.mtu {
				t.Errorf("backend %s with MTU %d, want %s with %d", conf.BackendType, backend.MTU, test.kind, test.mtu)
			}
			for _, p := range test.options.Cluster {
				if p.Addr().Is4() && !conf.EnableIPv4 || p.Addr().Is6() && !conf.EnableIPv6 {
					t.Errorf("%s is not enabled", p)
				}
			}
		})
	}
}

func TestNetworkList(t *testing.T) {
	pods := networks("10.42.0.0/24", "fd42::/64")
	type plugin struct {
		Type, Bridge     string
		MTU              int
		IsDefaultGateway bool
		IPMasq           bool
		IPAM             struct {
			Ranges [][]struct{ Subnet string }
			Routes []struct{ Dst string }
		}
	}
	read := func(t *testing.T, o Options) (name string, plugins []plugin) {
		t.Helper()
		text, err := o.networkList(pods, 1430)
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			Name    string
			Plugins []plugin
		}
		if err := json.Unmarshal(text, &list); err != nil {
			t.Fatal(err)
		}
		return list.Name, list.Plugins
	}
	t.Run("packaged", func(t *testing.T) {
		name, plugins := read(t, Options{Name: "airgap", Chained: []map[string]any{{"type": "last"}}})
		if name != "airgap" || len(plugins) != 3 || plugins[1].Type != "portmap" || plugins[2].Type != "last" {
			t.Fatalf("%s: %+v", name, plugins)
		}
		bridge := plugins[0]
		if bridge.Type != "bridge" || bridge.Bridge != config.PodBridge || bridge.MTU != 1430 || bridge.IPMasq {
			t.Errorf("%+v", bridge)
		}
		if len(bridge.IPAM.Ranges) != 2 || bridge.IPAM.Ranges[1][0].Subnet != "fd42::/64" || bridge.IPAM.Routes[1].Dst != "::/0" {
			t.Errorf("addresses: %+v", bridge.IPAM)
		}
	})
	t.Run("the user's, with Flannel's plugin", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "cni.conflist")
		text := `{"name": "cbr0", "cniVersion": "1.0.0", "plugins": [
			{"type": "flannel", "delegate": {"isDefaultGateway": true, "mtu": 1300}}, {"type": "bandwidth"}]}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		name, plugins := read(t, Options{Name: "airgap", CNIConf: file})
		if name != "airgap" || len(plugins) != 2 || plugins[1].Type != "bandwidth" {
			t.Fatalf("%s: %+v", name, plugins)
		}
		if b := plugins[0]; b.Type != "bridge" || !b.IsDefaultGateway || b.MTU != 1300 || len(b.IPAM.Ranges) != 2 {
			t.Errorf("%+v", b)
		}
	})
	t.Run("no list", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "cni.conflist")
		if err := os.WriteFile(file, []byte(`{"type": "bridge"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := (Options{CNIConf: file}).networkList(pods, 1430); err == nil || !strings.Contains(err.Error(), "no list of plugins") {
			t.Errorf("error %v", err)
		}
	})
}

func TestRulesTranslateWhatLeavesTheCluster(t *testing.T) {
	both, own := networks("10.42.0.0/16", "fd42::/56"), networks("10.42.3.0/24", "fd42:0:0:3::/64")
	for name, test := range map[string]struct {
		rules      *rules
		with, none []string
	}{
		"dual stack": {
			newRules(both, own, true),
			[]string{"ip saddr 10.42.3.0/24 ip daddr != { 10.42.0.0/16, 224.0.0.0/4 } masquerade fully-random", "ip6 saddr fd42:0:0:3::/64 ip6 daddr != { fd42::/56, ff00::/8 }"}, nil,
		},
		"IPv6 as it is":   {newRules(both, own, false), []string{"ip saddr 10.42.3.0/24"}, []string{"ip6"}},
		"the only node's": {newRules(networks("10.42.0.0/24"), networks("10.42.0.0/24"), false), []string{"ip saddr 10.42.0.0/24"}, []string{"ip saddr != "}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, want := range test.with {
				if !strings.Contains(test.rules.script, want) {
					t.Errorf("no %q in\n%s", want, test.rules.script)
				}
			}
			for _, bad := range test.none {
				if strings.Contains(test.rules.script, bad) {
					t.Errorf("%q is in\n%s", bad, test.rules.script)
				}
			}
		})
	}
}
