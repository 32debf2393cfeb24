package hostinfo

import (
	"strings"
	"testing"
)

func TestBridgeFilter(t *testing.T) {
	const (
		release = "proc/sys/kernel/osrelease"
		dep     = "lib/modules/6.1.0-9-amd64/modules.dep"
		listed  = "kernel/net/bridge/bridge.ko: kernel/net/llc/llc.ko\nkernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko\n"
		other   = "kernel/net/bridge/bridge.ko: kernel/net/llc/llc.ko\nextra/my_br_netfilter.ko: kernel/net/bridge/br_netfilter.ko\n"
	)
	tests := []struct {
		name  string
		files map[string]string
		want  string // in the error; empty: none
	}{
		{"loaded", map[string]string{"proc/sys/net/bridge/bridge-nf-call-iptables": "1\n"}, ""},
		{"loaded, and shown in the first network namespace only", map[string]string{"sys/module/br_netfilter/refcnt": "0\n"}, ""},
		{"can be loaded", map[string]string{release: "6.1.0-9-amd64\n", dep: listed, "usr/sbin/modprobe": ""}, ""},
		{"nothing to load it with", map[string]string{release: "6.1.0-9-amd64\n", dep: listed}, "no modprobe"},
		{"not among the modules", map[string]string{release: "6.1.0-9-amd64\n", dep: other, "usr/sbin/modprobe": ""}, dep + " does not list it"},
		{"modules of another kernel", map[string]string{release: "6.1.0-10-amd64\n", dep: listed, "usr/sbin/modprobe": ""}, "there is no /lib/modules/6.1.0-10-amd64/modules.dep"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := machine(test.files).BridgeFilter()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("BridgeFilter = %v, want %q", err, test.want)
			}
		})
	}
}
