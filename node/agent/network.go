package agent

import (
	"context"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"airgap/node/config"
	"airgap/node/network"
	"airgap/node/network/flannel"
)

// Where a pod network that is not ours expects the runtime to look: containerd's own defaults.
const (
	foreignCNIConf = "/etc/cni/net.d"
	foreignCNIBin  = "/opt/cni/bin"
)

// cniConf is the folder of CNI configuration lists that containerd reads.
func (a *agent) cniConf() string {
	if a.config.FlannelBackend == config.FlannelNone {
		return foreignCNIConf
	}
	return filepath.Join(a.paths.AgentEtc(), "cni", "net.d")
}

// cniBins are the folders of CNI plugins.
func (a *agent) cniBins() []string {
	if a.config.FlannelBackend == config.FlannelNone {
		return []string{foreignCNIBin, a.bin}
	}
	return []string{a.bin}
}

// runNetwork gives the node's pods their network until ctx is done or it cannot.
func (a *agent) runNetwork(ctx context.Context, client *rest.Config) error {
	services, err := a.config.ServiceNetworks()
	if err != nil {
		return err
	}
	addresses, err := a.config.NodeAddresses()
	if err != nil {
		return err
	}
	if err := network.EnsureServiceRoute(services, addresses); err != nil {
		return err
	}
	if a.config.FlannelBackend == config.FlannelNone {
		klog.InfoS("flannel-backend none: the node becomes ready when a pod network is installed", "configuration", foreignCNIConf, "plugins", foreignCNIBin)
		<-ctx.Done()
		return nil
	}
	client = rest.CopyConfig(client)
	client.ContentType = "application/vnd.kubernetes.protobuf"
	client.AcceptContentTypes = client.ContentType + ",application/json"
	api, err := kubernetes.NewForConfig(client)
	if err != nil {
		return err
	}
	cluster, err := a.config.ClusterNetworks()
	if err != nil {
		return err
	}
	options := flannel.Options{
		API: api, Node: a.config.NodeName,
		Backend: a.config.FlannelBackend, Cluster: cluster, IPv6Masq: a.config.FlannelIPv6Masq,
		Conf: a.config.FlannelConf, CNIConf: a.config.FlannelCNIConf,
		Interface: a.config.FlannelIface, Addresses: addresses,
		Name: a.paths.ID, ConfDir: a.cniConf(), StateDir: a.paths.CNIState(), Chained: a.policyPlugin(),
	}
	if a.config.FlannelExternalIP {
		if options.External, err = a.config.NodeExternalAddresses(); err != nil {
			return err
		}
	}
	return flannel.Run(ctx, options)
}
