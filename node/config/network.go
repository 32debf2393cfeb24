package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Values of Agent.FlannelBackend: how packets travel between the pods of two nodes.
const (
	FlannelVXLAN     = "vxlan"            // in UDP packets; works wherever the nodes reach each other
	FlannelHostGW    = "host-gw"          // as they are; all nodes are on one network
	FlannelWireGuard = "wireguard-native" // encrypted, by the kernel's WireGuard
	FlannelNone      = "none"             // not at all: the user installs a pod network
)

// Names of what the pod network adds to the host, beside Flannel's own interfaces.
const (
	PodBridge     = "cni0"        // the interface that a node's pods are attached to
	PodTable      = "airgap-pods" // nf_tables table, family inet: address translation for pods
	ForwardMarker = "airgap-pods" // comment of the rules put into other programs' tables, see node/network/flannel
)

// checkFlannel reports what is wrong with the fields of the pod network.
func (a *Agent) checkFlannel() []error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	backends := []string{FlannelVXLAN, FlannelHostGW, FlannelWireGuard, FlannelNone}
	if !slices.Contains(backends, a.FlannelBackend) {
		add("flannel-backend: %q is none of %s", a.FlannelBackend, strings.Join(backends, ", "))
	}
	given := map[string]bool{
		"flannel-iface": a.FlannelIface != "", "flannel-conf": a.FlannelConf != "", "flannel-cni-conf": a.FlannelCNIConf != "",
		"flannel-ipv6-masq": a.FlannelIPv6Masq, "flannel-external-ip": a.FlannelExternalIP,
	}
	for _, flag := range []string{"flannel-iface", "flannel-conf", "flannel-cni-conf", "flannel-ipv6-masq", "flannel-external-ip"} {
		if given[flag] && a.FlannelBackend == FlannelNone {
			add("%s: has no meaning with flannel-backend none", flag)
		}
	}
	for flag, file := range map[string]string{"flannel-conf": a.FlannelConf, "flannel-cni-conf": a.FlannelCNIConf} {
		if file != "" && !filepath.IsAbs(file) {
			add("%s: %q is not an absolute path", flag, file)
		}
	}
	if a.FlannelExternalIP && a.NodeExternalIP == "" {
		add("flannel-external-ip: say which address with node-external-ip")
	}
	if a.FlannelExternalIP && a.FlannelBackend == FlannelHostGW {
		add("flannel-external-ip: host-gw needs nodes on one network; use vxlan or wireguard-native")
	}
	return errs
}

// ClusterNetworks are the networks of the pods, one or one of each family.
func (a *Agent) ClusterNetworks() ([]netip.Prefix, error) {
	return prefixes("cluster-cidr", a.ClusterCIDR)
}

// NodeAddresses are the addresses in NodeIP, the first of them the primary one.
func (a *Agent) NodeAddresses() ([]netip.Addr, error) { return addresses("node-ip", a.NodeIP) }

// NodeExternalAddresses are the addresses in NodeExternalIP.
func (a *Agent) NodeExternalAddresses() ([]netip.Addr, error) {
	return addresses("node-external-ip", a.NodeExternalIP)
}

// addresses parses a list separated by commas; the empty text is the empty list.
func addresses(flag, value string) ([]netip.Addr, error) {
	if value == "" {
		return nil, nil
	}
	var list []netip.Addr
	for text := range strings.SplitSeq(value, ",") {
		address, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no IP address", flag, text)
		}
		list = append(list, address.Unmap())
	}
	return list, nil
}

// NodeMaskSize is the length of the prefix of each node's share of a cluster's network:
// 24 or 64 bits as in K3s, but never shorter than the network's own, nor more than the 16 bits longer
// that the controller manager accepts (pkg/controller/nodeipam/ipam/cidrset).
func NodeMaskSize(cluster netip.Prefix) int {
	size := 64
	if cluster.Addr().Is4() {
		size = 24
	}
	return min(max(size, cluster.Bits()), cluster.Bits()+16)
}
