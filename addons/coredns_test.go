package addons

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestCoreDNSManifests(t *testing.T) {
	base := CoreDNSOptions{Image: "airgap.internal/coredns:1.15.0", ClusterDNS: "10.43.0.10", ClusterDomain: "cluster.local"}
	for name, change := range map[string]func(*CoreDNSOptions){
		"coredns.yaml":          func(*CoreDNSOptions) {},
		"coredns-upstream.yaml": func(o *CoreDNSOptions) { o.Upstream = []string{"192.0.2.53", "[2001:db8::53]:5353"} },
		"coredns-dual.yaml":     func(o *CoreDNSOptions) { o.ClusterDNS = "10.43.0.10,fd00:43::a" },
	} {
		t.Run(name, func(t *testing.T) {
			options := base
			change(&options)
			got, err := CoreDNS(options)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, name, got)
			objects, err := parseManifest(got)
			if err != nil || len(objects) != 8 {
				t.Errorf("%d objects, error %v", len(objects), err)
			}
		})
	}
}

// compareGolden holds that a file in testdata has these bytes.
func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	golden := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run the test with -update and read the diff. Got:\n%s", golden, got)
	}
}

func TestCoreDNSRefuses(t *testing.T) {
	good := CoreDNSOptions{Image: "i", ClusterDNS: "10.43.0.10", ClusterDomain: "cluster.local"}
	for name, test := range map[string]struct {
		change func(*CoreDNSOptions)
		want   string
	}{
		"no image":          {func(o *CoreDNSOptions) { o.Image = "" }, "no image"},
		"no address":        {func(o *CoreDNSOptions) { o.ClusterDNS = "" }, "cluster DNS address"},
		"one family twice":  {func(o *CoreDNSOptions) { o.ClusterDNS = "10.43.0.10,10.43.0.11" }, "one of each family"},
		"domain":            {func(o *CoreDNSOptions) { o.ClusterDomain = "a b" }, "cluster domain"},
		"upstream file":     {func(o *CoreDNSOptions) { o.Upstream = []string{"/etc/resolv.conf"} }, "/etc/resolv.conf"},
		"upstream injected": {func(o *CoreDNSOptions) { o.Upstream = []string{"192.0.2.1 {\n}"} }, "want an IP address"},
		"upstream loopback": {func(o *CoreDNSOptions) { o.Upstream = []string{"127.0.0.53"} }, "cannot be reached from a pod"},
	} {
		t.Run(name, func(t *testing.T) {
			options := good
			test.change(&options)
			if _, err := CoreDNS(options); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}
