package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"airgap/node/config"
	"airgap/node/datastore"
	"airgap/node/encryption"
	"airgap/node/pki"
	"airgap/node/policy"
	"airgap/node/token"
)

// AddOn is something of airgap's own that runs beside the controllers once the API
// server is ready. It ends when ctx is done; an error ends the control plane.
type AddOn struct {
	Name string
	Run  func(ctx context.Context, client *rest.Config) error
}

// Front returns a handler that takes some paths of the API server's port, and leaves all others to next, the API server.
type Front func(next http.Handler) http.Handler

// credentials makes and renews the server's certificates.
var credentials pki.Issuer

// Prepare makes what the server needs before it can start: certificates and kubeconfigs, those of the
// agent beside it too, and the key that encrypts secrets. It needs no network and is idempotent.
func Prepare(cfg *config.Server) error {
	if err := credentials.Prepare(cfg); err != nil {
		return err
	}
	paths := config.PathsOf(cfg.DataDir)
	bundle, err := os.ReadFile(filepath.Join(paths.TLS(), pki.ClusterCABundle+".crt"))
	if err != nil {
		return err
	}
	if err := token.Ensure(paths, bundle, cfg.Token, cfg.AgentToken); err != nil {
		return err
	}
	if err := encryption.Ensure(encryption.File(paths), cfg.SecretsEncryption); err != nil {
		return err
	}
	return policy.Write(cfg)
}

// Run runs the control plane until ctx is done or a part of it fails. Prepare must have
// been called. front sees every request to the API server first, from the moment that it listens. ready is called once,
// when the API server answers, with the names of what was started beside it.
func Run(ctx context.Context, cfg *config.Server, front Front, addOns []AddOn, ready func(components []string)) error {
	paths := config.PathsOf(cfg.DataDir)

	where, err := cfg.Datastore()
	if err != nil {
		return err
	}
	storeCtx, stopStore := context.WithCancel(context.Background())
	giveUp := context.AfterFunc(ctx, stopStore) // while it is down, Start waits
	store, err := datastore.Start(storeCtx, datastore.Options{
		Store: where, Dir: paths.DB(), Socket: filepath.Join(paths.Run(), "kine.sock"), StateFile: paths.DatastoreState(),
		Metrics: legacyregistry.Registerer(),
	})
	giveUp()
	if err != nil {
		stopStore()
		return err
	}
	defer func() { stopStore(); store.Wait() }()

	parts, err := newComponents(cfg, store)
	if err != nil {
		return err
	}

	// The API server outlives those that talk to it.
	apiCtx, stopAPI := context.WithCancel(context.Background())
	api := newGroup(apiCtx)
	defer func() { stopAPI(); api.wait(4 * time.Second) }()
	api.start("kube-apiserver", func(ctx context.Context) error { return parts.runAPIServer(ctx, front) })

	client, err := clientcmd.BuildConfigFromFlags("", pki.SupervisorConfig(paths))
	if err != nil {
		return err
	}
	if err := waitReady(ctx, api, client); err != nil {
		return err
	}

	clientsCtx, stopClients := context.WithCancel(ctx)
	clients := newGroup(clientsCtx)
	defer func() { stopClients(); clients.wait(2 * time.Second) }()
	clients.start("certificates", func(ctx context.Context) error {
		credentials.Keep(ctx, cfg, pki.KeepInterval, func(err error) { klog.ErrorS(err, "Certificates") })
		return nil
	})
	clients.start("kube-scheduler", parts.runScheduler)
	clients.start("kube-controller-manager", parts.runControllers)
	for _, a := range addOns {
		clients.start(a.Name, func(ctx context.Context) error { return a.Run(ctx, client) })
	}
	ready(clients.names)

	select {
	case <-ctx.Done():
		return nil
	case err := <-api.failed:
		return err
	case err := <-clients.failed:
		return err
	}
}

// waitReady asks the API server for /readyz until it says yes.
func waitReady(ctx context.Context, api *group, client *rest.Config) error {
	transport, err := rest.HTTPClientFor(client)
	if err != nil {
		return err
	}
	transport.Timeout = 2 * time.Second
	started := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-api.failed:
			return err
		case <-time.After(50 * time.Millisecond):
		}
		response, err := transport.Get(client.Host + "/readyz")
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			klog.InfoS("API server is ready", "after", time.Since(started).Round(time.Millisecond))
			return nil
		}
	}
}

// group runs functions that should only end when its context is done. The first
// that ends otherwise is reported on failed.
type group struct {
	ctx     context.Context
	names   []string // of what was started
	failed  chan error
	running sync.WaitGroup
}

func newGroup(ctx context.Context) *group {
	return &group{ctx: ctx, failed: make(chan error, 16)}
}

func (g *group) start(name string, run func(context.Context) error) {
	g.names = append(g.names, name)
	g.running.Go(func() {
		err := run(g.ctx)
		if g.ctx.Err() != nil {
			klog.InfoS("stopped", "component", name)
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		select {
		case g.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
}

// wait returns when all have ended, or their time is up: what has not ended then has nothing
// left to lose, for all state is in the datastore, which is closed last.
func (g *group) wait(patience time.Duration) {
	ended := make(chan struct{})
	go func() { g.running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		klog.InfoS("stopping without waiting any longer", "after", patience)
	}
}
