package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"airgap/addons"
	"airgap/addons/helm"
	"airgap/addons/nodehosts"
	images "airgap/airgap-images"
	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/node/controlplane"
	"airgap/node/network/servicelb"
)

// addOns are what airgap itself runs in the control plane's process.
func addOns(cfg *config.Server, log *slog.Logger) []controlplane.AddOn {
	name := cfg.NodeName
	if cfg.DisableAgent {
		name = ""
	}
	return []controlplane.AddOn{
		controlplane.Bootstrap(name),
		{Name: "deployer", Run: func(ctx context.Context, client *rest.Config) error {
			deployer, err := addons.NewDeployer(addons.DeployerOptions{
				Folder: config.PathsOf(cfg.DataDir).Manifests(), Config: client,
				Node: cfg.NodeName, Disable: addons.FilesOf(cfg.Disable), Log: log,
			})
			if err != nil {
				return err
			}
			return deployer.Run(ctx)
		}},
		{Name: "helm-controller", Run: func(ctx context.Context, client *rest.Config) error {
			if cfg.DisableHelm {
				<-ctx.Done()
				return nil
			}
			controller, err := helm.New(helm.Options{Config: client, Log: log})
			if err != nil {
				return err
			}
			return controller.Run(ctx)
		}},
		{Name: "node-hosts", Run: func(ctx context.Context, client *rest.Config) error {
			if slices.Contains(cfg.Disable, "coredns") {
				<-ctx.Done()
				return nil
			}
			api, err := kubernetes.NewForConfig(client)
			if err != nil {
				return err
			}
			return nodehosts.Run(ctx, api, log)
		}},
		{Name: "servicelb", Run: func(ctx context.Context, client *rest.Config) error {
			return runServiceLB(ctx, cfg, client, name, log)
		}},
	}
}

// runServiceLB runs the service load balancer, or, where it is disabled, takes back what it once gave. name is
// that of the node that this machine is, empty for none.
func runServiceLB(ctx context.Context, cfg *config.Server, client *rest.Config, name string, log *slog.Logger) error {
	client = rest.CopyConfig(client)
	client.QPS, client.Burst = 50, 100
	api, err := kubernetes.NewForConfig(client)
	if err != nil {
		return err
	}
	if slices.Contains(cfg.Disable, "servicelb") {
		if err := servicelb.Withdraw(ctx, api); err != nil {
			log.Error("service load balancer is disabled, but addresses that it gave are left; restart to try again", "error", err)
		}
		<-ctx.Done()
		return nil
	}
	return servicelb.New(servicelb.Options{
		Client: api, Node: name, Host: hostinfo.This(), Log: log,
		Reserved: map[servicelb.Port]string{
			{Protocol: corev1.ProtocolTCP, Number: int32(cfg.HTTPSListenPort)}: "the API server",
			{Protocol: corev1.ProtocolTCP, Number: int32(cfg.KubeletPort)}:     "the kubelet",
			{Protocol: corev1.ProtocolTCP, Number: int32(cfg.PeerPort)}:        "the listener for peers",
		},
	}).Run(ctx)
}

// writePackaged puts the manifests of the packaged components where the deployer follows them. A
// file that is as it should be is left alone.
func writePackaged(cfg *config.Server) error {
	manifests, err := packaged(cfg)
	if err != nil {
		return err
	}
	dir := config.PathsOf(cfg.DataDir).Manifests()
	// What a definition's file brought stays in the cluster: it is kept, with all objects of its kind.
	for _, name := range []string{addons.GatewayAPIFile, addons.TraefikCRDsFile} {
		if _, wanted := manifests[name]; !wanted {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("packaged component: %w", err)
			}
		}
	}
	for name, content := range manifests {
		file := filepath.Join(dir, name)
		if current, err := os.ReadFile(file); err == nil && bytes.Equal(current, content) {
			continue
		}
		if err := atomicfile.Write(file, content, 0o600); err != nil {
			return fmt.Errorf("packaged component: %w", err)
		}
	}
	return nil
}

// isPackaged says whether an earlier start has put a file where the deployer follows it.
func isPackaged(cfg *config.Server, name string) bool {
	_, err := os.Stat(filepath.Join(config.PathsOf(cfg.DataDir).Manifests(), name))
	return err == nil
}

// packaged returns the manifests of all packaged components by file name.
func packaged(cfg *config.Server) (map[string][]byte, error) {
	resolvers, err := os.ReadFile(cfg.ResolvConf)
	if err != nil {
		return nil, err
	}
	manifests, err := addons.Traefik(addons.TraefikOptions{
		Image:      images.Reference("traefik"),
		GatewayAPI: cfg.ServesKinds(config.IngressGatewayAPI, isPackaged(cfg, addons.GatewayAPIFile)),
		OwnKinds:   cfg.ServesKinds(config.IngressTraefik, isPackaged(cfg, addons.TraefikCRDsFile)),
	})
	if err != nil {
		return nil, err
	}
	if manifests["coredns.yaml"], err = addons.CoreDNS(addons.CoreDNSOptions{
		Image: images.Reference("coredns"), ClusterDNS: cfg.ClusterDNS, ClusterDomain: cfg.ClusterDomain,
		Upstream: hostinfo.Nameservers(string(resolvers)),
	}); err != nil {
		return nil, err
	}
	if manifests["metrics-server.yaml"], err = addons.MetricsServer(images.Reference("metrics-server")); err != nil {
		return nil, err
	}
	manifests["local-storage.yaml"], err = addons.LocalStorage(addons.LocalStorageOptions{
		Image: images.Reference("local-path-provisioner"), HelperImage: images.Reference("busybox"), Path: cfg.LocalStoragePath,
	})
	return manifests, err
}
