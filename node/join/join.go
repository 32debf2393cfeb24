package join

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"airgap/internal/site"
	"airgap/node/pki"
)

// join makes the machine that asks a node.
func (h *Handler) join(ctx context.Context, c call) (any, error) {
	j, err := parseJoin(c.body)
	if err != nil {
		return nil, err
	}
	if j.Check {
		return h.checked(ctx, j)
	}
	log := h.Log.With("node", j.NodeName, "from", c.from, "airgap", j.Airgap, "kubernetes", j.Kubernetes, "platform", j.Platform)
	response, err := h.joined(ctx, j)
	if err != nil {
		log.Warn("a join is refused", "error", err)
		return nil, err
	}
	log.Info("a machine has joined", "addresses", j.Addresses, "warnings", response.Warnings)
	return response, nil
}

// checked says what would come of a join, and changes nothing.
func (h *Handler) checked(ctx context.Context, j *joining) (*site.JoinResponse, error) {
	if err := h.admissible(ctx, j); err != nil {
		return nil, err
	}
	if err := h.names.claimable(ctx, j.NodeName, j.Password); err != nil {
		return nil, err
	}
	warnings, err := h.names.clones(ctx, j.NodeName, machine{id: j.MachineID, hostKeys: j.HostKeys})
	return &site.JoinResponse{Cluster: h.cluster(), Warnings: warnings}, err
}

// admissible refuses what no node of this cluster can be, whoever asks.
func (h *Handler) admissible(ctx context.Context, j *joining) error {
	if err := checkVersion(j.Kubernetes, h.Kubernetes); err != nil {
		return err
	}
	if err := h.checkName(j.NodeName); err != nil {
		return err
	}
	return h.checkAddresses(ctx, j.NodeName, j.addresses)
}

func (h *Handler) joined(ctx context.Context, j *joining) (*site.JoinResponse, error) {
	if err := h.admissible(ctx, j); err != nil {
		return nil, err
	}
	machine := machine{id: j.MachineID, hostKeys: j.HostKeys}
	if err := h.names.claim(ctx, j.NodeName, j.Password, machine); err != nil {
		return nil, err
	}
	issued, err := h.Issuer.IssueNode(h.paths, pki.Node{Name: j.NodeName, Addresses: toIPs(j.addresses)}, j.keys)
	if err != nil {
		return nil, err
	}
	response := &site.JoinResponse{Issued: issued, Cluster: h.cluster()}
	if response.Warnings, err = h.names.clones(ctx, j.NodeName, machine); err != nil {
		return nil, err
	}
	for _, warning := range response.Warnings {
		h.tell(ctx, j.NodeName, warning)
	}
	return response, nil
}

// renew gives a node new certificates.
func (h *Handler) renew(ctx context.Context, c call) (any, error) {
	r, err := parseRenew(c.body)
	if err != nil {
		return nil, err
	}
	if err := h.names.mustHave(ctx, c.node, r.password); err != nil {
		return nil, err
	}
	if err := h.checkAddresses(ctx, c.node, r.addresses); err != nil {
		return nil, err
	}
	issued, err := h.Issuer.IssueNode(h.paths, pki.Node{Name: c.node, Addresses: toIPs(r.addresses)}, r.keys)
	if err != nil {
		return nil, err
	}
	if r.keys != (pki.NodeKeys{}) {
		h.Log.Info("certificates of a node are renewed", "node", c.node, "from", c.from)
	}
	return site.RenewResponse{Issued: issued, Peers: h.Peers()}, nil
}

// checkName refuses names by which clients know the API server: they go into a serving certificate.
func (h *Handler) checkName(node string) error {
	if node == h.names.own {
		return nil // its password is asked for
	}
	names, _, err := pki.ServingNames(h.Config)
	if err != nil {
		return err
	}
	if slices.Contains(names, node) {
		return refusal(http.StatusForbidden, site.CodeName, "%s is a name of the API server: call this machine otherwise with --node-name", node)
	}
	return nil
}

// checkAddresses refuses addresses that belong to the API server, to pods and services, or to another node.
func (h *Handler) checkAddresses(ctx context.Context, node string, addresses []netip.Addr) error {
	taken := func(a netip.Addr, whose string) error {
		return refusal(http.StatusConflict, site.CodeRequest, "%s is %s: give this machine another address, or name the right one with --node-ip", a, whose)
	}
	if node != h.names.own {
		_, own, err := pki.ServingNames(h.Config)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if slices.ContainsFunc(own, func(ip net.IP) bool { return ip.Equal(a.AsSlice()) }) {
				return taken(a, "an address of the server")
			}
		}
	}
	pods, err := h.Config.ClusterNetworks()
	if err != nil {
		return err
	}
	services, err := h.Config.ServiceNetworks()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		for _, network := range slices.Concat(pods, services) {
			if network.Contains(a) {
				return taken(a, fmt.Sprintf("in the cluster's own network %s, of pods or services", network))
			}
		}
	}
	nodes, err := h.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, other := range nodes.Items {
		if other.Name == node {
			continue
		}
		for _, theirs := range other.Status.Addresses {
			// Those that are host names do not parse, and are compared with none.
			a, err := netip.ParseAddr(theirs.Address)
			if err == nil && slices.Contains(addresses, a.Unmap()) {
				return taken(a, "the address of node "+other.Name)
			}
		}
	}
	return nil
}

// cluster is what a node has to know.
func (h *Handler) cluster() site.Cluster {
	s := h.Config
	return site.Cluster{
		Servers:     []string{"https://" + net.JoinHostPort(s.AdvertiseAddress, strconv.Itoa(s.HTTPSListenPort))},
		Peers:       h.Peers(),
		ClusterCIDR: s.ClusterCIDR, ServiceCIDR: s.ServiceCIDR, ClusterDNS: s.ClusterDNS, ClusterDomain: s.ClusterDomain,
		FlannelBackend: s.FlannelBackend, FlannelIPv6Masq: s.FlannelIPv6Masq, FlannelExternalIP: s.FlannelExternalIP,
		DisableNetworkPolicy: s.DisableNetworkPolicy, RegistryCopies: s.RegistryCopies,
		Airgap: h.Airgap, Kubernetes: h.Kubernetes,
	}
}

// tell makes an event of a warning, where whoever looks at the node sees it. The join does not fail with it.
func (h *Handler) tell(ctx context.Context, node, warning string) {
	now := metav1.NewTime(h.Now())
	_, err := h.Client.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: node + ".", Namespace: metav1.NamespaceDefault},
		// The kubelet's own events name the node by its name in place of its UID, too.
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: uidOf(node)},
		Type:           corev1.EventTypeWarning, Reason: "ClonedMachine", Message: warning,
		Source: corev1.EventSource{Component: "airgap"}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		h.Log.Error("an event on a node cannot be made", "node", node, "event", warning, "error", err)
	}
}

func toIPs(addresses []netip.Addr) (list []net.IP) {
	for _, a := range addresses {
		list = append(list, a.AsSlice())
	}
	return list
}

// leaving reads a leave request.
func leaving(body []byte) (request site.LeaveRequest, err error) {
	if err := json.Unmarshal(body, &request); err != nil {
		return request, invalid("the request is no JSON of a leave: %v", err)
	}
	return request, nil
}
