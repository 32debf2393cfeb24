package agent

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"

	images "airgap/airgap-images"
	"airgap/node/config"
	"airgap/registry"
	"airgap/registry/distribution"
	"airgap/registry/mirror"
)

// Registries opens the node's registries.yaml: the one that was asked for, or the default one if it is there.
func Registries(cfg *config.Agent) (*mirror.File, error) {
	report := func(err error) { klog.ErrorS(err, "registries.yaml") }
	if cfg.PrivateRegistry != "" {
		return mirror.Open(cfg.PrivateRegistry, true, report)
	}
	return mirror.Open(config.PathsOf(cfg.DataDir).PrivateRegistry(), false, report)
}

// connectContainerd makes a client that connects with its first call: containerd need not run yet, and is
// tried often until it does.
func (a *agent) connectContainerd() (*containerd.Client, error) {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 50*time.Millisecond, time.Second
	conn, err := grpc.NewClient("unix://"+a.paths.ContainerdSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxContainerdMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: time.Second}))
	if err != nil {
		return nil, err
	}
	return containerd.NewWithConn(conn, containerd.WithDefaultNamespace(registry.Namespace))
}

// startMirror serves the registry that containerd asks for every image, and writes how containerd finds it.
func (a *agent) startMirror(client *containerd.Client, pushed *siteImages) (*http.Server, error) {
	registries, err := Registries(a.config)
	if err != nil {
		return nil, err
	}
	address := mirror.Address(a.config.RegistryPort)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("image mirror: %w; another --registry-port may be free", err)
	}
	credentials, err := mirror.WriteHosts(a.paths.RegistryHosts(), address)
	if err != nil {
		listener.Close()
		return nil, err
	}
	server := &http.Server{
		Handler: mirror.New(
			distribution.Content{Images: client.ImageService(), Blobs: client.ContentStore(), Folder: a.paths.ContentBlobs()}, registries.Registries,
			mirror.Options{
				DisableDefaultEndpoint: a.config.DisableDefaultRegistryEndpoint,
				SystemRegistry:         a.config.SystemDefaultRegistry,
				SystemHost:             images.System().Registry,
				Site:                   pushed, SitePort: a.config.PeerPort,
				Peers: pushed.members.peers, PeerTLS: pushed.peerTLS,
			}),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second,
		ErrorLog: log.New(requestLog("image mirror"), "", 0),
	}
	go func() {
		if err := server.Serve(tls.NewListener(listener, credentials)); err != http.ErrServerClosed {
			klog.ErrorS(err, "the image mirror ended; images that are not here cannot be pulled until the agent starts again")
		}
	}()
	return server, nil
}

// maxContainerdMessageBytes is containerd's own bound of a message (defaults.DefaultMaxRecvMsgSize).
const maxContainerdMessageBytes = 16 << 20
