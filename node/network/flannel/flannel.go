package flannel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/flannel-io/flannel/pkg/backend/hostgw"
	"github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/backend/wireguard"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"airgap/node/config"
)

// Options is what the pod network is told.
type Options struct {
	API  kubernetes.Interface // with the node's own identity
	Node string               // name of the Node object

	Backend  string         // config.FlannelVXLAN, config.FlannelHostGW or config.FlannelWireGuard
	Cluster  []netip.Prefix // the pods' networks of the whole cluster: one, or one of each family
	Conf     string         // file in Flannel's own format to use instead of Backend and Cluster; may be empty
	CNIConf  string         // CNI configuration list to use instead of the packaged one; may be empty
	IPv6Masq bool           // hide IPv6 addresses of pods behind the node's

	Interface string       // to the other nodes; empty: the one that has the first of Addresses
	Addresses []netip.Addr // of this node
	External  []netip.Addr // by which other nodes reach it, where Addresses cannot be; may be empty

	Name     string           // of the CNI network: CNI's cache, which all nodes of a machine share, tells them apart by it
	ConfDir  string           // absolute folder of CNI configuration lists
	StateDir string           // absolute folder where host-local keeps the addresses given out
	Chained  []map[string]any // CNI plugins to call after those of the list

	// Ready, if not nil, is called when sandboxes can be made.
	Ready func()
}

// Run gives the node's pods their network until ctx is done. It returns an error only if the
// network cannot be set up.
func Run(ctx context.Context, o Options) error {
	outward, err := o.findInterface()
	if err != nil {
		return err
	}
	conf, err := o.configuration(outward.MTU)
	if err != nil {
		return err
	}
	external, err := o.external(outward, conf)
	if err != nil {
		return err
	}
	node, err := waitForShare(ctx, o.API, o.Node)
	if err != nil {
		return err
	}
	leases := &leases{api: o.API, node: node, config: conf, again: make(chan struct{}, 1)}
	var background sync.WaitGroup
	network, err := register(ctx, leases, external, &background)
	if err != nil {
		return explain(conf.BackendType, err)
	}
	pods := prefixes(network.Lease())
	rules := newRules(clusterOf(conf), pods, o.IPv6Masq)
	if err := rules.apply(ctx); err != nil {
		return err
	}
	list, err := o.networkList(pods, network.MTU())
	if err != nil {
		return err
	}
	if err := o.writeNetworkList(list); err != nil {
		return err
	}
	klog.InfoS("pod network configured", "backend", conf.BackendType, "node", o.Node, "podCIDRs", pods,
		"interface", external.IfaceName, "mtu", network.MTU())
	if o.Ready != nil {
		o.Ready()
	}
	background.Go(func() { rules.keep(ctx) })
	background.Go(func() { followTunnels(ctx, leases.again) })
	network.Run(ctx)
	background.Wait()
	return nil
}

// register lets the backend make its interface and announce this node.
func register(ctx context.Context, leases *leases, external *backend.ExternalInterface, background *sync.WaitGroup) (backend.Network, error) {
	constructors := map[string]backend.BackendCtor{"vxlan": vxlan.New, "host-gw": hostgw.New, "wireguard": wireguard.New}
	construct, ok := constructors[leases.config.BackendType]
	if !ok {
		return nil, fmt.Errorf("this build has no such backend; it has vxlan, host-gw and wireguard")
	}
	made, err := construct(leases, external)
	if err != nil {
		return nil, err
	}
	network, err := made.RegisterNetwork(ctx, background, leases.config)
	if err != nil {
		return nil, err
	}
	if routes, ok := network.(*backend.RouteNetwork); ok {
		routes.GetRoute, routes.GetV6Route = marked(routes.GetRoute), marked(routes.GetV6Route)
	}
	return network, nil
}

// marked gives routes to other nodes the mark by which an uninstall knows them; those of the other backends
// vanish with their interface.
func marked(route func(*lease.Lease) *netlink.Route) func(*lease.Lease) *netlink.Route {
	if route == nil {
		return nil
	}
	return func(l *lease.Lease) *netlink.Route {
		r := route(l)
		r.Protocol = config.RouteProtocol
		return r
	}
}

// explain adds what to do about an error of a backend.
func explain(backend string, err error) error {
	modules := map[string]string{"vxlan": "vxlan", "wireguard": "wireguard"}
	if module, ok := modules[backend]; ok && errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("flannel backend %s: this kernel has no %s (%w); load its module (modprobe %s), "+
			"or, if all nodes are on one network, choose --flannel-backend host-gw", backend, module, err, module)
	}
	return fmt.Errorf("flannel backend %s: %w", backend, err)
}

// prefixes are the node's share: its pods' networks.
func prefixes(l *lease.Lease) []netip.Prefix {
	var list []netip.Prefix
	if !l.Subnet.Empty() {
		list = append(list, prefix4(l.Subnet))
	}
	if !l.IPv6Subnet.Empty() {
		list = append(list, prefix6(l.IPv6Subnet))
	}
	return list
}

// clusterOf are the pods' networks of the whole cluster.
func clusterOf(conf *subnet.Config) []netip.Prefix {
	var list []netip.Prefix
	if conf.EnableIPv4 {
		list = append(list, prefix4(conf.Network))
	}
	if conf.EnableIPv6 {
		list = append(list, prefix6(conf.IPv6Network))
	}
	return list
}

func prefix4(n ip.IP4Net) netip.Prefix { return netip.MustParsePrefix(n.String()) }

func prefix6(n ip.IP6Net) netip.Prefix { return netip.MustParsePrefix(n.String()) }
