package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/rest"

	"airgap/internal/discovery"
	"airgap/internal/site"
	"airgap/node/config"
	"airgap/node/controlplane"
	"airgap/node/pki"
)

// announceAddOn lets machines of the LAN find this server while its API server is ready, if the configuration wants it.
// That it cannot keeps nothing else from working.
func announceAddOn(cfg *config.Server, log *slog.Logger) controlplane.AddOn {
	return controlplane.AddOn{Name: "announce", Run: func(ctx context.Context, _ *rest.Config) error {
		if cfg.Announce {
			if err := announce(ctx, cfg, log); err != nil {
				log.Error("the server is not announced on the LAN", "err", err)
			}
		}
		<-ctx.Done()
		return nil
	}}
}

func announce(ctx context.Context, cfg *config.Server, log *slog.Logger) error {
	file := filepath.Join(config.PathsOf(cfg.DataDir).TLS(), pki.ClusterCABundle+".crt")
	authorities, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the cluster's authorities: %w", err)
	}
	server := discovery.Server{
		Node: cfg.NodeName, CAHash: site.HashCA(authorities),
		URL: "https://" + net.JoinHostPort(cfg.AdvertiseAddress, strconv.Itoa(cfg.HTTPSListenPort)),
	}
	return discovery.Announce(ctx, server, func(err error) { log.Warn(err.Error()) })
}
