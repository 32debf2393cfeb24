package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxDataDirLength leaves room, under the 108 bytes that a unix socket's path can
// have, for the longest socket a pod's volume puts under the data folder.
const maxDataDirLength = 64

var (
	nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	octal    = regexp.MustCompile(`^0?[0-7]{3}$`)
)

// Complete fills in what follows from other fields, and reports every field that
// is wrong, not the first. Each of the joined errors begins with the name of the field's flag.
func (s *Server) Complete() error {
	errs := []error{s.Agent.complete()}
	if s.HTTPSListenPort < 1 || s.HTTPSListenPort > 65535 {
		errs = append(errs, fmt.Errorf("https-listen-port: %d is no port", s.HTTPSListenPort))
	}
	for _, address := range []struct{ flag, value string }{
		{"bind-address", s.BindAddress}, {"advertise-address", s.AdvertiseAddress},
	} {
		if err := checkAddress(address.flag, address.value); err != nil {
			errs = append(errs, err)
		}
	}
	if !octal.MatchString(s.KubeconfigMode) {
		errs = append(errs, fmt.Errorf("write-kubeconfig-mode: %q is no octal mode such as 0600", s.KubeconfigMode))
	}
	errs = append(errs, checkPairs("kube-apiserver-arg", s.APIServerArgs), checkPairs("kube-scheduler-arg", s.SchedulerArgs),
		checkPairs("kube-controller-manager-arg", s.ControllerManagerArgs))
	if _, err := s.Datastore(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, s.Snapshots.complete(PathsOf(s.DataDir))...)
	if s.LocalStoragePath == "" {
		s.LocalStoragePath = PathsOf(s.DataDir).Storage()
	} else if !filepath.IsAbs(s.LocalStoragePath) || filepath.Clean(s.LocalStoragePath) == "/" {
		errs = append(errs, fmt.Errorf("default-local-storage-path: %q is not the absolute path of a folder", s.LocalStoragePath))
	}
	s.LocalStoragePath = filepath.Clean(s.LocalStoragePath)
	s.Disable = splitCommas(s.Disable)
	errs = append(errs, s.completeIngressKinds())
	s.DisableHelm = s.DisableHelm || slices.Contains(s.Disable, "helm-controller")
	if s.Kubeconfig == "" {
		s.Kubeconfig = PathsOf(s.DataDir).Kubeconfig()
	}
	return errors.Join(errs...)
}

// Complete is Server's for an agent alone.
func (a *Agent) Complete() error { return a.complete() }

func (a *Agent) complete() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	switch {
	case !filepath.IsAbs(a.DataDir):
		add("data-dir: %q is not an absolute path", a.DataDir)
	case filepath.Clean(a.DataDir) == "/":
		add("data-dir: / cannot be the data folder")
	case len(a.DataDir) > maxDataDirLength:
		add("data-dir: %q is longer than %d bytes, too long for the sockets under it", a.DataDir, maxDataDirLength)
	}
	a.DataDir = filepath.Clean(a.DataDir)
	if a.NodeName != "" && !ValidNodeName(a.NodeName) {
		add("node-name: %q is no lower-case DNS name of at most 63 characters", a.NodeName)
	}
	if a.Snapshotter != "overlayfs" {
		add("snapshotter: %q is not supported; images are unpacked for overlayfs", a.Snapshotter)
	}
	errs = append(errs, checkAddress("node-ip", a.NodeIP), checkAddress("node-external-ip", a.NodeExternalIP))
	errs = append(errs, a.checkFlannel()...)
	for _, port := range []struct {
		flag  string
		value int
	}{
		{"kubelet-port", a.KubeletPort}, {"kubelet-healthz-port", a.KubeletHealthPort},
		{"kube-proxy-healthz-port", a.ProxyHealthPort}, {"kube-proxy-metrics-port", a.ProxyMetricsPort},
		{"registry-port", a.RegistryPort}, {"lb-server-port", a.LBServerPort}, {"peer-port", a.PeerPort},
	} {
		if port.value < 1 || port.value > 65535 {
			add("%s: %d is no port", port.flag, port.value)
		}
	}
	if a.ShutdownGracePeriod < 0 || a.ShutdownGracePeriod > MaxShutdownGracePeriod {
		add("shutdown-grace-period: %s: want at most %s, or 0 for none", a.ShutdownGracePeriod, MaxShutdownGracePeriod)
	}
	if a.RegistryCopies < 1 {
		add("registry-copies: %d: at least one node keeps what is pushed", a.RegistryCopies)
	}
	if strings.Contains(a.SystemDefaultRegistry, "://") {
		add("system-default-registry: %q: want a host such as registry.site:5000, without a scheme", a.SystemDefaultRegistry)
	}
	if a.PrivateRegistry != "" && !filepath.IsAbs(a.PrivateRegistry) {
		add("private-registry: %q is not an absolute path", a.PrivateRegistry)
	}
	cluster, err := prefixes("cluster-cidr", a.ClusterCIDR)
	if err != nil {
		errs = append(errs, err)
	}
	service, err := prefixes("service-cidr", a.ServiceCIDR)
	if err != nil {
		errs = append(errs, err)
	}
	for _, c := range cluster {
		for _, s := range service {
			if c.Overlaps(s) {
				add("cluster-cidr %s and service-cidr %s overlap", c, s)
			}
		}
	}
	if a.ClusterDNS == "" {
		var addresses []string
		for _, s := range service {
			addresses = append(addresses, nth(s, 10).String())
		}
		a.ClusterDNS = strings.Join(addresses, ",")
	} else if dns, err := netip.ParseAddr(strings.Split(a.ClusterDNS, ",")[0]); err != nil {
		add("cluster-dns: %q is no address", a.ClusterDNS)
	} else if len(service) > 0 && !service[0].Contains(dns) {
		add("cluster-dns: %s is not in service-cidr %s", dns, a.ServiceCIDR)
	}
	if err := a.completeProfiles(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkPairs("kubelet-arg", a.KubeletArgs), checkPairs("kube-proxy-arg", a.KubeProxyArgs), checkPairs("node-label", a.NodeLabels))
	return errors.Join(errs...)
}

// checkPairs wants key=value of each value of a flag.
func checkPairs(flag string, values []string) error {
	var errs []error
	for _, value := range values {
		if !strings.Contains(value, "=") {
			errs = append(errs, fmt.Errorf("%s: %q: want key=value", flag, value))
		}
	}
	return errors.Join(errs...)
}

// ValidNodeName says whether a node may be called so: a lower-case DNS name of at most 63 characters.
func ValidNodeName(name string) bool { return len(name) <= 63 && nodeName.MatchString(name) }

// splitCommas takes apart the values of a list that hold several: K3s reads --disable so.
func splitCommas(list []string) []string {
	var all []string
	for _, value := range list {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

func checkAddress(flag, value string) error {
	_, err := addresses(flag, value)
	return err
}

// prefixes parses one network, or two of different families separated by a comma.
func prefixes(flag, value string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for part := range strings.SplitSeq(value, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil || p.Masked() != p {
			return nil, fmt.Errorf("%s: %q is no network such as 10.42.0.0/16", flag, part)
		}
		list = append(list, p)
	}
	if len(list) > 2 || len(list) == 2 && list[0].Addr().Is4() == list[1].Addr().Is4() {
		return nil, fmt.Errorf("%s: %q: want one network, or one IPv4 and one IPv6", flag, value)
	}
	return list, nil
}

// nth returns the nth address after p's first.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// FirstServiceAddress is the address of the `kubernetes` service: the first of the
// (first) service network.
func (a *Agent) FirstServiceAddress() (netip.Addr, error) {
	list, err := prefixes("service-cidr", a.ServiceCIDR)
	if err != nil {
		return netip.Addr{}, err
	}
	return nth(list[0], 1), nil
}

// ServiceNetworks are the networks of the services, one or one of each family.
func (a *Agent) ServiceNetworks() ([]netip.Prefix, error) {
	return prefixes("service-cidr", a.ServiceCIDR)
}

// URL is where this machine's own processes reach the API server.
func (s *Server) URL() string {
	host := "127.0.0.1"
	if a, err := netip.ParseAddr(s.BindAddress); err == nil && !a.IsUnspecified() {
		host = s.BindAddress
		if a.Is6() {
			host = "[" + host + "]"
		}
	}
	return "https://" + host + ":" + strconv.Itoa(s.HTTPSListenPort)
}
