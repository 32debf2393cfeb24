package node

import (
	"context"
	"log/slog"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"

	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/node/controlplane"
	"airgap/node/join"
	"airgap/node/pki"
	"airgap/registry/peer"
)

// newJoining returns what answers machines that join, renew their certificates or leave. It is there before the API server is, for
// it sits in front of that.
func newJoining(cfg *config.Server, airgap string, log *slog.Logger) (*join.Handler, error) {
	client, err := clientcmd.BuildConfigFromFlags("", pki.SupervisorConfig(config.PathsOf(cfg.DataDir)))
	if err != nil {
		return nil, err
	}
	client.QPS, client.Burst = 100, 200 // a line of machines may join at once
	api, err := kubernetes.NewForConfig(client)
	if err != nil {
		return nil, err
	}
	var handler *join.Handler
	handler = join.New(join.Options{
		Config: cfg, Client: api, Airgap: airgap, Kubernetes: version.Get().GitVersion, Host: hostinfo.This(), Log: log,
		Exchange: peer.NewTracker(peer.TrackerOptions{Seeders: func() []string { return handler.Peers() }}),
	})
	return handler, nil
}

// joiningAddOn lets machines join while the API server is ready.
func joiningAddOn(h *join.Handler) controlplane.AddOn {
	return controlplane.AddOn{Name: "join", Run: func(ctx context.Context, _ *rest.Config) error { return h.Run(ctx) }}
}
