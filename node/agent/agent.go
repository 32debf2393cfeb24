package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"airgap/node/config"
	"airgap/node/kernel"
)

// agent is one running agent.
type agent struct {
	config  *config.Agent
	paths   config.Paths
	options Options
	bin     string // folder of runc, the shim, the CNI plugins and nft
	limits  limits
	kubelet string // path of the kubelet's kubeconfig
	proxy   string // path of kube-proxy's
}

// Options are what an agent needs from the process it runs in.
type Options struct {
	Executable string   // absolute path of this executable, beside the distribution's others
	Env        []string // environment of containerd, and so of the shims
	Log        *os.File // containerd's standard output and error
	Version    string   // airgap's

	// Repaired is told what a start found damaged and put right; may be nil.
	Repaired func(config.Repair)

	// What a machine of its own has, and a server's agent has not; nil then.
	Notify func()                          // called once when containerd has been started
	Admit  func(ctx context.Context) error // returns when the cluster lets the node in, asked when the API first answers
	Learn  func(servers []string) error    // takes the addresses of the cluster's API servers
}

// Run runs the agent until ctx is done or a part of it fails. The credentials must lie in
// Paths.AgentPKI.
func Run(ctx context.Context, cfg *config.Agent, o Options) error {
	paths := config.PathsOf(cfg.DataDir)
	a := &agent{
		config: cfg, paths: paths, options: o, bin: filepath.Dir(o.Executable),
		kubelet: filepath.Join(paths.AgentPKI(), "kubelet.kubeconfig"),
		proxy:   filepath.Join(paths.AgentPKI(), "kube-proxy.kubeconfig"),
	}
	var err error
	if a.limits, err = detectLimits(); err != nil {
		return err
	}
	for _, line := range a.limits.notes() {
		klog.InfoS("restricted host", "adapted", line)
	}
	if err := prepareHost(paths, cfg.ProtectKernelDefaults); err != nil {
		return err
	}
	if err := createCgroup(paths.CgroupRoot()); err != nil {
		return err
	}

	if err := a.repairImages(ctx); err != nil {
		return ignoreCanceled(ctx, err)
	}
	content, err := a.connectContainerd()
	if err != nil {
		return err
	}
	defer content.Close()
	pushed, err := a.newSiteImages(content)
	if err != nil {
		return fmt.Errorf("registry of pushed images: %w", err)
	}
	mirror, err := a.startMirror(content, pushed)
	if err != nil {
		return err
	}
	defer mirror.Close()
	peers, err := a.startPeers(pushed.handler(a, content))
	if err != nil {
		return err
	}
	defer peers.Close()

	// Stopping goes the other way round: what uses containerd ends before it.
	runtimeCtx, stopRuntime := context.WithCancel(context.Background())
	runtime := make(chan error, 1)
	go func() { runtime <- a.runContainerd(runtimeCtx) }()
	defer func() { stopRuntime(); <-runtime }()
	if o.Notify != nil {
		o.Notify()
	}

	client, err := clientcmd.BuildConfigFromFlags("", a.kubelet)
	if err != nil {
		return fmt.Errorf("agent credentials: %w", err)
	}
	if err := a.waitForAPI(ctx, client, runtime); err != nil {
		return ignoreCanceled(ctx, err)
	}
	if o.Admit != nil {
		if err := o.Admit(ctx); err != nil {
			return ignoreCanceled(ctx, err)
		}
	}
	if err := a.waitForRuntime(ctx, content, runtime); err != nil {
		return ignoreCanceled(ctx, err)
	}

	go a.keepPins(ctx, content)
	go pushed.run(ctx)
	go a.annotate(ctx, client)
	if o.Learn != nil {
		go a.learn(ctx)
	}
	failed := make(chan error, 4)
	part := func(name string, run func(context.Context) error) {
		err := run(ctx)
		if err == nil {
			err = errors.New("ended by itself")
		}
		failed <- fmt.Errorf("%s: %w", name, err)
	}
	go part("kubelet", a.runKubelet)
	go part("kube-proxy", a.runProxy)
	go part("pod network", func(ctx context.Context) error {
		return a.runNetwork(ctx, client)
	})
	go part("network policy", a.runPolicy)
	select {
	case <-ctx.Done():
		// The kubelet keeps nothing that needs an orderly end; give it a moment to say so.
		select {
		case <-failed:
		case <-time.After(time.Second):
		}
		return nil
	case err := <-failed:
		return ignoreCanceled(ctx, err)
	case err := <-runtime:
		runtime <- nil // for the deferred receive
		return fmt.Errorf("containerd: %w", err)
	}
}

// Waits between two questions to an API server that does not answer: one that starts does so in seconds, one that is
// switched off in days.
const (
	firstAPIWait = 100 * time.Millisecond
	longAPIWait  = 2 * time.Second
)

// waitForAPI returns when the API server lets this node's identity in.
func (a *agent) waitForAPI(ctx context.Context, client *rest.Config, runtime chan error) error {
	transport, err := rest.HTTPClientFor(client)
	if err != nil {
		return err
	}
	transport.Timeout = 5 * time.Second
	for wait := firstAPIWait; ; wait = min(wait*5/4, longAPIWait) {
		response, err := transport.Get(client.Host + "/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		klog.V(2).InfoS("waiting for the API server", "url", client.Host, "err", err)
		if err := pause(ctx, wait, runtime); err != nil {
			return err
		}
	}
}

// pause waits a little, and fails when ctx is done or containerd cannot be run.
func pause(ctx context.Context, d time.Duration, runtime chan error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-runtime:
		runtime <- nil
		return fmt.Errorf("containerd: %w", err)
	case <-time.After(d):
		return nil
	}
}

func ignoreCanceled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// prepareHost makes the agent's folders and sees to the kernel's settings.
func prepareHost(paths config.Paths, protect bool) error {
	for _, dir := range []string{paths.Run(), paths.Containerd(), paths.AgentEtc(), paths.Kubelet(), paths.CNIState(), paths.PodManifests()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(paths.PodLogs(), 0o755); err != nil {
		return err
	}
	if err := kernel.LoadBridgeFilter(kernel.Root); err != nil {
		klog.ErrorS(err, "the kernel has no "+kernel.BridgeFilter+": services and network policies do not work between pods of this node")
	}
	if err := kernel.Record(kernel.Root, kernel.Settings, paths.KernelSettings()); err != nil {
		return err
	}
	return kernel.Apply(kernel.Root, kernel.Settings, protect)
}
