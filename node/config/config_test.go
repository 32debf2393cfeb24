package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestCompleteReportsEveryMistake(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Server)
		want   []string
	}{
		"defaults":          {func(*Server) {}, nil},
		"relative data dir": {func(s *Server) { s.DataDir = "data" }, []string{"data-dir"}},
		"long data dir":     {func(s *Server) { s.DataDir = "/" + strings.Repeat("x", 80) }, []string{"sockets"}},
		"root data dir":     {func(s *Server) { s.DataDir = "/" }, []string{"data-dir"}},
		"port":              {func(s *Server) { s.HTTPSListenPort = 70000 }, []string{"https-listen-port: 70000"}},
		"node name":         {func(s *Server) { s.NodeName = "Bad_Name" }, []string{"node-name"}},
		"two mistakes":      {func(s *Server) { s.NodeIP = "x"; s.KubeletPort = 0 }, []string{"node-ip", "kubelet-port"}},
		"overlap":           {func(s *Server) { s.ServiceCIDR = "10.42.128.0/20" }, []string{"overlap"}},
		"no network":        {func(s *Server) { s.ClusterCIDR = "10.42.0.1/16" }, []string{"cluster-cidr"}},
		"two of one family": {func(s *Server) { s.ClusterCIDR = "10.1.0.0/16,10.2.0.0/16" }, []string{"cluster-cidr"}},
		"dual stack":        {func(s *Server) { s.ClusterCIDR = "10.42.0.0/16,fd42::/48"; s.ServiceCIDR = "10.43.0.0/16,fd43::/112" }, nil},
		"DNS outside":       {func(s *Server) { s.ClusterDNS = "10.99.0.10" }, []string{"cluster-dns"}},
		"argument":          {func(s *Server) { s.KubeletArgs = []string{"v"} }, []string{`"v"`}},
		"snapshotter":       {func(s *Server) { s.Snapshotter = "native" }, []string{"snapshotter"}},
		"system registry":   {func(s *Server) { s.SystemDefaultRegistry = "https://registry.site" }, []string{"system-default-registry"}},
		"private registry":  {func(s *Server) { s.PrivateRegistry = "registries.yaml" }, []string{"private-registry"}},
		"profile":           {func(s *Server) { s.Profiles = []string{"cis", "stig"} }, []string{`no profile "stig"`}},
		"profiles":          {func(s *Server) { s.Profiles = []string{"cis", "edge"} }, nil},
		"ingress kinds":     {func(s *Server) { s.IngressKinds = []string{"traefik,gateway-api"} }, nil},
		"no such kinds":     {func(s *Server) { s.IngressKinds = []string{"gateway"} }, []string{`ingress-kinds: "gateway"`}},
		"none and some":     {func(s *Server) { s.IngressKinds = []string{"none", "traefik"} }, []string{"stands alone"}},
		"storage path":      {func(s *Server) { s.LocalStoragePath = "volumes" }, []string{"default-local-storage-path"}},
		"mode":              {func(s *Server) { s.KubeconfigMode = "rw" }, []string{"write-kubeconfig-mode"}},
		"backend":           {func(s *Server) { s.FlannelBackend = "udp" }, []string{`flannel-backend: "udp"`}},
		"no backend":        {func(s *Server) { s.FlannelBackend = FlannelNone }, nil},
		"meaningless":       {func(s *Server) { s.FlannelBackend = FlannelNone; s.FlannelIface = "eth0" }, []string{"flannel-iface"}},
		"relative conf":     {func(s *Server) { s.FlannelConf = "net-conf.json" }, []string{"flannel-conf"}},
		"no external IP":    {func(s *Server) { s.FlannelExternalIP = true }, []string{"node-external-ip"}},
		"external host-gw": {func(s *Server) {
			s.FlannelExternalIP, s.NodeExternalIP, s.FlannelBackend = true, "192.0.2.1", FlannelHostGW
		}, []string{"flannel-external-ip"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewServer()
			test.change(s)
			err := s.Complete()
			if (err != nil) != (len(test.want) > 0) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestServesKinds(t *testing.T) {
	for name, test := range map[string]struct {
		profiles, kinds []string
		had, want       bool
	}{
		"by default":                    {nil, nil, false, true},
		"profile edge":                  {[]string{ProfileEdge}, nil, false, false},
		"profile edge, on one that had": {[]string{ProfileEdge}, nil, true, true},
		"profile edge, asked for":       {[]string{ProfileEdge}, []string{IngressGatewayAPI}, false, true},
		"the other asked for":           {nil, []string{IngressTraefik}, false, false},
		"none, on one that had":         {nil, []string{IngressNone}, true, false},
	} {
		s := NewServer()
		s.Profiles, s.IngressKinds = test.profiles, test.kinds
		if got := s.ServesKinds(IngressGatewayAPI, test.had); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCompleteDerivesDNS(t *testing.T) {
	s := NewServer()
	s.ServiceCIDR = "10.50.0.0/16,fd43::/112"
	s.ClusterCIDR = "10.42.0.0/16,fd42::/48"
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	if s.ClusterDNS != "10.50.0.10,fd43::a" {
		t.Errorf("cluster DNS is %s", s.ClusterDNS)
	}
	if first, err := s.FirstServiceAddress(); err != nil || first.String() != "10.50.0.1" {
		t.Errorf("first service address is %s, %v", first, err)
	}
}

func TestPathsKeepClustersApart(t *testing.T) {
	standard, one, other := PathsOf(DefaultDataDir), PathsOf("/srv/one"), PathsOf("/srv/other/")
	if standard.ID != "airgap" || standard.Kubeconfig() != DefaultKubeconfig || standard.PodLogs() != "/var/log/pods" {
		t.Errorf("the default data folder: %s, %s, %s", standard.ID, standard.Kubeconfig(), standard.PodLogs())
	}
	if one.ID == other.ID || one.ID == standard.ID || one.Run() == other.Run() || one.CgroupRoot() == other.CgroupRoot() {
		t.Errorf("%s and %s are not apart", one.ID, other.ID)
	}
	if other.DataDir != "/srv/other" || PathsOf("/srv/other").ID != other.ID {
		t.Errorf("%s is not clean", other.DataDir)
	}
	if one.ConfigFile() != "/srv/one/config.yaml" {
		t.Errorf("configuration file %s is outside the data folder", one.ConfigFile())
	}
}

func TestURL(t *testing.T) {
	for address, want := range map[string]string{
		"": "https://127.0.0.1:6443", "0.0.0.0": "https://127.0.0.1:6443", "10.0.0.1": "https://10.0.0.1:6443", "fd00::1": "https://[fd00::1]:6443",
	} {
		s := NewServer()
		s.BindAddress = address
		if got := s.URL(); got != want {
			t.Errorf("URL of %q is %s, want %s", address, got, want)
		}
	}
}

func TestNodeMaskSize(t *testing.T) {
	for network, want := range map[string]int{
		"10.42.0.0/16": 24, "10.42.0.0/24": 24, "10.42.0.0/26": 26, "10.0.0.0/7": 23,
		"fd42::/56": 64, "fd42::/48": 64, "fd42::/32": 48, "fd42::/112": 112,
	} {
		if got := NodeMaskSize(netip.MustParsePrefix(network)); got != want {
			t.Errorf("a node's part of %s has %d bits, want %d", network, got, want)
		}
	}
}

func TestDisableTakesCommas(t *testing.T) {
	s := NewServer()
	s.Disable = []string{"coredns, servicelb", "", "traefik"}
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"coredns", "servicelb", "traefik"}; !slices.Equal(s.Disable, want) {
		t.Errorf("disabled are %q, want %q", s.Disable, want)
	}
	if s.DisableHelm {
		t.Error("the Helm controller is disabled with them")
	}
	s.Disable = []string{"traefik,helm-controller"}
	if err := s.Complete(); err != nil || !s.DisableHelm {
		t.Errorf("--disable helm-controller disables %v, error %v", s.DisableHelm, err)
	}
}
