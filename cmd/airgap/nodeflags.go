package main

import (
	"github.com/spf13/pflag"

	"airgap/node/config"
)

// addAgentFlags binds the flags that every node has to a.
func addAgentFlags(fs *pflag.FlagSet, a *config.Agent) {
	fs.StringVarP(&a.DataDir, "data-dir", "d", a.DataDir, "`folder` of everything the node keeps")
	fs.StringVar(&a.NodeName, "node-name", a.NodeName, "node name (default: the host's name)")
	fs.StringVar(&a.NodeIP, "node-ip", a.NodeIP, "`address` that other nodes reach this one by, two for dual stack (default: found)")
	fs.StringArrayVar(&a.NodeLabels, "node-label", a.NodeLabels, "register the node with this `key=value` (repeatable)")
	fs.StringArrayVar(&a.NodeTaints, "node-taint", a.NodeTaints, "register the node with this taint, `key=value:effect` (repeatable)")
	fs.StringVar(&a.ResolvConf, "resolv-conf", a.ResolvConf, "resolver `file` for pods that use the host's DNS")
	fs.StringVar(&a.PauseImage, "pause-image", a.PauseImage, "`image` of the pod sandbox (default: the packaged one)")
	fs.StringVar(&a.NodeExternalIP, "node-external-ip", a.NodeExternalIP, "`address` by which the world reaches this node")
	fs.StringVar(&a.FlannelIface, "flannel-iface", a.FlannelIface, "`interface` to the other nodes (default: the one with the node's address)")
	fs.StringVar(&a.FlannelConf, "flannel-conf", a.FlannelConf, "Flannel's configuration `file`, instead of the flags")
	fs.StringVar(&a.FlannelCNIConf, "flannel-cni-conf", a.FlannelCNIConf, "CNI configuration `file`, instead of the packaged one")
	fs.StringVar(&a.Snapshotter, "snapshotter", a.Snapshotter, "containerd's snapshotter")
	fs.StringArrayVar(&a.KubeletArgs, "kubelet-arg", a.KubeletArgs, "pass `flag=value` to the kubelet (repeatable)")
	fs.StringArrayVar(&a.KubeProxyArgs, "kube-proxy-arg", a.KubeProxyArgs, "pass `flag=value` to kube-proxy (repeatable)")
	fs.IntVar(&a.KubeletPort, "kubelet-port", a.KubeletPort, "`port` of the kubelet")
	fs.IntVar(&a.KubeletHealthPort, "kubelet-healthz-port", a.KubeletHealthPort, "loopback `port` of the kubelet's health check")
	fs.IntVar(&a.ProxyHealthPort, "kube-proxy-healthz-port", a.ProxyHealthPort, "loopback `port` of kube-proxy's health check")
	fs.IntVar(&a.ProxyMetricsPort, "kube-proxy-metrics-port", a.ProxyMetricsPort, "loopback `port` of kube-proxy's metrics")
	fs.IntVar(&a.RegistryPort, "registry-port", a.RegistryPort, "loopback `port` of the image mirror that containerd asks")
	fs.IntVar(&a.LBServerPort, "lb-server-port", a.LBServerPort, "loopback `port` by which an agent reaches the API server, whichever answers")
	fs.IntVar(&a.PeerPort, "peer-port", a.PeerPort, "`port` where other nodes get images and bundles that this one has")
	fs.StringVar(&a.PrivateRegistry, "private-registry", a.PrivateRegistry, "`file` with mirrors and credentials of registries (default: "+config.DefaultPrivateRegistry+", or registries.yaml in another data folder)")
	fs.StringVar(&a.SystemDefaultRegistry, "system-default-registry", a.SystemDefaultRegistry, "`host` to pull system images from that no bundle brought")
	fs.BoolVar(&a.DisableDefaultRegistryEndpoint, "disable-default-registry-endpoint", a.DisableDefaultRegistryEndpoint, "ask the mirrors of a registry and never the registry itself")
	fs.BoolVar(new(bool), "embedded-registry", true, "the image mirror, which every node runs; accepted for K3s' sake")
	fs.DurationVar(&a.ShutdownGracePeriod, "shutdown-grace-period", a.ShutdownGracePeriod, "how long all pods together may take to end when the machine shuts down; 0: they are killed as all other processes")
	fs.BoolVar(&a.ProtectKernelDefaults, "protect-kernel-defaults", a.ProtectKernelDefaults, "refuse to start where the kernel's settings are not what the node needs, rather than set them")
	fs.StringSliceVar(&a.Profiles, "profile", a.Profiles, "`names` of sets of settings: cis (hardening), edge (small machines)")
	fs.BoolVar(&a.Debug, "debug", a.Debug, "log more")
	fs.BoolVar(&a.EnablePprof, "enable-pprof", a.EnablePprof, "serve Go's profiles to root, on unix sockets in the run folder")
}

// addServerFlags binds the flags of a server to s. Names and defaults are K3s'.
func addServerFlags(fs *pflag.FlagSet, s *config.Server) {
	addAgentFlags(fs, &s.Agent)
	fs.StringVar(&s.BindAddress, "bind-address", s.BindAddress, "`address` the API server listens on (default: all)")
	fs.StringVar(&s.AdvertiseAddress, "advertise-address", s.AdvertiseAddress, "`address` the API server is known by (default: the node's)")
	fs.IntVar(&s.HTTPSListenPort, "https-listen-port", s.HTTPSListenPort, "`port` of the API server")
	fs.StringArrayVar(&s.TLSSANs, "tls-san", s.TLSSANs, "further `name` or address in the API server's certificate (repeatable)")
	fs.BoolVar(&s.Announce, "announce", s.Announce, "let machines on the LAN find this server by multicast DNS: airgap discover, install --server discover")
	fs.StringVar(&s.ClusterCIDR, "cluster-cidr", s.ClusterCIDR, "`network` of the pods, two for dual stack")
	fs.StringVar(&s.ServiceCIDR, "service-cidr", s.ServiceCIDR, "`network` of the services, two for dual stack")
	fs.StringVar(&s.ClusterDNS, "cluster-dns", s.ClusterDNS, "service `address` of the cluster's DNS (default: the tenth of the service network)")
	fs.StringVar(&s.ClusterDomain, "cluster-domain", s.ClusterDomain, "DNS `domain` of the cluster")
	fs.IntVar(&s.RegistryCopies, "registry-copies", s.RegistryCopies, "`number` of nodes that keep an image which was pushed into the site's registry")
	fs.StringVar(&s.FlannelBackend, "flannel-backend", s.FlannelBackend, "how pods of different nodes reach each other: vxlan, host-gw, wireguard-native or none")
	fs.BoolVar(&s.FlannelIPv6Masq, "flannel-ipv6-masq", s.FlannelIPv6Masq, "hide the pods' IPv6 addresses behind the node's")
	fs.BoolVar(&s.FlannelExternalIP, "flannel-external-ip", s.FlannelExternalIP, "nodes reach each other by --node-external-ip")
	fs.StringVar(&s.NodePorts, "service-node-port-range", s.NodePorts, "`ports` for services of type NodePort")
	fs.BoolVar(&s.DisableNetworkPolicy, "disable-network-policy", s.DisableNetworkPolicy, "do not enforce NetworkPolicies")
	addDatastoreFlags(fs, s)
	addSnapshotFlags(fs, &s.Snapshots)
	fs.StringVarP(&s.Token, "token", "t", s.Token, "`secret` that other machines join with (in AIRGAP_TOKEN or --token-file nobody sees it in the list of processes)")
	fs.StringVar(&s.TokenFile, "token-file", s.TokenFile, "`file` with that secret")
	fs.StringVar(&s.AgentToken, "agent-token", s.AgentToken, "`secret` that agents alone join with (AIRGAP_AGENT_TOKEN)")
	fs.StringVar(&s.AgentTokenFile, "agent-token-file", s.AgentTokenFile, "`file` with that secret")
	fs.BoolVar(&s.SecretsEncryption, "secrets-encryption", s.SecretsEncryption, "encrypt secrets in a new datastore; later see `airgap secrets-encrypt`")
	fs.StringVarP(&s.Kubeconfig, "write-kubeconfig", "o", s.Kubeconfig, "`file` for the administrator's kubeconfig (default: /etc/airgap/airgap.yaml)")
	fs.StringVar(&s.KubeconfigMode, "write-kubeconfig-mode", s.KubeconfigMode, "its octal `mode`")
	fs.StringArrayVar(&s.Disable, "disable", s.Disable, "leave out these packaged `components`, with commas between: coredns, local-storage, metrics-server, servicelb, traefik (repeatable)")
	fs.StringSliceVar(&s.IngressKinds, "ingress-kinds", s.IngressKinds, "`kinds` that the packaged ingress controller serves beside Ingress: gateway-api, traefik; or none (default: both, none with --profile edge)")
	fs.BoolVar(&s.DisableHelm, "disable-helm-controller", s.DisableHelm, "leave HelmCharts, those of packaged components too, to another controller")
	fs.StringVar(&s.LocalStoragePath, "default-local-storage-path", s.LocalStoragePath, "`folder` of the volumes of the storage class local-path (default: storage in the data folder)")
	fs.BoolVar(&s.DisableAgent, "disable-agent", s.DisableAgent, "run the control plane only")
	fs.StringArrayVar(&s.APIServerArgs, "kube-apiserver-arg", s.APIServerArgs, "pass `flag=value` to the API server (repeatable)")
	fs.StringArrayVar(&s.SchedulerArgs, "kube-scheduler-arg", s.SchedulerArgs, "pass `flag=value` to the scheduler (repeatable)")
	fs.StringArrayVar(&s.ControllerManagerArgs, "kube-controller-manager-arg", s.ControllerManagerArgs, "pass `flag=value` to the controller manager (repeatable)")
}

// addJoinFlags binds the flags of joining a cluster to j. Names are K3s'.
func addJoinFlags(fs *pflag.FlagSet, j *config.Join) {
	fs.StringVarP(&j.Server, "server", "s", j.Server, "`URL` of a server of the cluster to join, https://address:port (AIRGAP_URL)")
	fs.StringVarP(&j.Token, "token", "t", j.Token, "`token` to join with (in AIRGAP_TOKEN or --token-file nobody sees it in the list of processes)")
	fs.StringVar(&j.TokenFile, "token-file", j.TokenFile, "`file` with that token")
}

// changedFlags returns what was given for the flags in names, on the command line or in a
// file, as the values of a configuration file.
func changedFlags(fset *pflag.FlagSet, names func(name string) bool) map[string]any {
	values := map[string]any{}
	fset.VisitAll(func(f *pflag.Flag) {
		if !f.Changed || !names(f.Name) {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values[f.Name] = list.GetSlice()
			return
		}
		values[f.Name] = f.Value.String()
	})
	return values
}
