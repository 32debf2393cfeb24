package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"airgap/internal/atomicfile"
	"airgap/internal/site"
	"airgap/node/agent"
	"airgap/node/agent/balancer"
	"airgap/node/agent/renewal"
	"airgap/node/config"
	"airgap/node/kernel"
	"airgap/node/pki"
)

// JoinedAgent runs an agent on a machine of its own until ctx is done or a part of it fails. If the machine has not joined
// a cluster, it joins the one of machine first; if it has, everything it needs is on its disk.
func JoinedAgent(ctx context.Context, cfg *config.Agent, machine site.Machine, o Options) (err error) {
	setUpLogging(cfg.Debug)
	raiseClock(config.PathsOf(cfg.DataDir))
	if cfg.ProtectKernelDefaults {
		if err := errors.Join(kernel.Wrong(kernel.Root, kernel.Settings)...); err != nil {
			return err
		}
	}
	if _, err := agent.Registries(cfg); err != nil {
		return err
	}
	paths := config.PathsOf(cfg.DataDir)
	unlock, err := Lock(paths)
	if err != nil {
		return err
	}
	defer unlock()
	state := newAgentState(paths)
	defer func() { state.ended(err) }()
	release, err := claimNetwork(cfg.DataDir)
	if err != nil {
		return err
	}
	defer release()

	o.Manager.Status("starting")
	cluster, err := joinOnce(ctx, machine, state)
	if err != nil {
		return err
	}
	if err := adopt(cfg, cluster); err != nil {
		return err
	}
	state.joined(cfg.NodeName)
	servers, err := serversOf(machine.Server, cluster)
	if err != nil {
		return err
	}
	foundAddress := cfg.NodeIP == ""
	if err := awaitAddresses(ctx, cfg, servers, state); err != nil {
		return err
	}
	if err := completeFromHost(cfg); err != nil {
		return err
	}
	if err := hand(cfg, paths); err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go keepClock(ctx, paths, cancel)
	if foundAddress {
		go followAddresses(ctx, cfg.NodeIP, addressLooks, func() (string, error) { return addressesOf(cfg, servers...) }, cancel)
	}
	if cfg.EnablePprof {
		if err := servePprof(ctx, paths.Run(), "agent"); err != nil {
			return err
		}
	}
	balance, err := startBalancer(ctx, cfg, paths, servers, cancel)
	if err != nil {
		return err
	}
	go state.follow(ctx, balance)
	keeper, err := newKeeper(cfg, paths)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, o.Manager.Stopping)()
	go watchAgent(ctx, cfg, o.Manager)
	err = agent.Run(ctx, cfg, agent.Options{
		Executable: o.Executable, Env: o.Env, Log: o.Log, Version: o.Airgap, Learn: balance.Learn,
		Notify:   func() { o.Manager.Ready("node " + cfg.NodeName + " runs its pods") },
		Admit:    func(context.Context) error { return admit(ctx, keeper, state, cancel) },
		Repaired: repairsOf(cfg.DataDir),
	})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// joinOnce joins the cluster if the machine has not done so, and returns what it knows of it.
func joinOnce(ctx context.Context, machine site.Machine, state *agentState) (site.Cluster, error) {
	cluster, err := site.LoadCluster(machine.PKI)
	if !errors.Is(err, fs.ErrNotExist) {
		return cluster, err
	}
	switch {
	case machine.Server == "":
		return cluster, errors.New("this machine has not joined a cluster: say which one with --server https://first:6443 --token T")
	case machine.Token.Secret == "":
		return cluster, fmt.Errorf("this machine has not joined a cluster, and %s lets nobody in without a token: `airgap token create --print-join` there makes one", machine.Server)
	}
	joined, err := machine.Join(ctx, func(err error) { state.trouble(fmt.Errorf("joining: %w", err)) })
	if err != nil {
		return cluster, err
	}
	for _, warning := range joined.Warnings {
		klog.InfoS("the server warns", "warning", warning)
	}
	klog.InfoS("joined", "server", machine.Server, "node", joined.NodeName)
	state.trouble(nil)
	return joined.Cluster, nil
}

// adopt puts what the cluster decides into the configuration, and the name under which the machine has joined.
func adopt(cfg *config.Agent, c site.Cluster) error {
	name, err := site.NodeName(config.PathsOf(cfg.DataDir).AgentPKI())
	if err != nil {
		return err
	}
	if cfg.NodeName != "" && cfg.NodeName != name {
		return fmt.Errorf("node-name: %s, but this machine has joined as %s; to give it another name, uninstall it and join again", cfg.NodeName, name)
	}
	cfg.NodeName = name
	cfg.ClusterCIDR, cfg.ServiceCIDR, cfg.ClusterDNS, cfg.ClusterDomain = c.ClusterCIDR, c.ServiceCIDR, c.ClusterDNS, c.ClusterDomain
	cfg.FlannelBackend, cfg.FlannelIPv6Masq, cfg.FlannelExternalIP = c.FlannelBackend, c.FlannelIPv6Masq, c.FlannelExternalIP
	cfg.DisableNetworkPolicy = c.DisableNetworkPolicy
	if c.RegistryCopies > 0 { // a server that knows of no copies does not say
		cfg.RegistryCopies = c.RegistryCopies
	}
	cfg.ServerURL = "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.LBServerPort))
	if err := cfg.Complete(); err != nil {
		return fmt.Errorf("with what the cluster wants of its nodes: %w", err)
	}
	return nil
}

// serversOf lists "address:port" of the server that the machine was told, if any, and of those of the cluster.
func serversOf(told string, c site.Cluster) ([]string, error) {
	var list []string
	for _, text := range append([]string{told}, c.Servers...) {
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("server %q: want https://address:port", text)
		}
		port := u.Port()
		if port == "" {
			port = strconv.Itoa(config.DefaultHTTPSListenPort)
		}
		list = append(list, net.JoinHostPort(u.Hostname(), port))
	}
	return list, nil
}

// addressWait is between two looks for an address of the node.
const addressWait = 2 * time.Second

// awaitAddresses finds the node's addresses if nobody has said them: those by which it reaches the servers. At a boot
// without a cable there may be none for a while.
func awaitAddresses(ctx context.Context, cfg *config.Agent, servers []string, state *agentState) error {
	for cfg.NodeIP == "" {
		var err error
		cfg.NodeIP, err = addressesOf(cfg, servers...)
		if err == nil {
			state.trouble(nil)
			break
		}
		state.trouble(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(addressWait):
		}
	}
	return nil
}

// hand writes what the agent's components and `airgap status` read: the kubeconfigs, and the configuration as it has become.
func hand(cfg *config.Agent, paths config.Paths) error {
	if err := pki.WriteAgentKubeconfigs(paths, cfg.ServerURL); err != nil {
		return err
	}
	if err := os.MkdirAll(paths.AgentEtc(), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteJSON(paths.AgentHandover(), cfg, 0o600)
}

// startBalancer makes the API server reachable on loopback.
func startBalancer(ctx context.Context, cfg *config.Agent, paths config.Paths, servers []string, failed context.CancelCauseFunc) (*balancer.Balancer, error) {
	balance, err := balancer.New(balancer.Options{Servers: servers, File: paths.LearnedServers(), Log: slog.Default()})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", strings.TrimPrefix(cfg.ServerURL, "https://"))
	if err != nil {
		return nil, fmt.Errorf("load balancer: %w; another --lb-server-port may be free", err)
	}
	go func() {
		if err := balance.Serve(ctx, listener); err != nil {
			failed(fmt.Errorf("load balancer: %w", err))
		}
	}()
	return balance, nil
}

func newKeeper(cfg *config.Agent, paths config.Paths) (*renewal.Keeper, error) {
	keeper := &renewal.Keeper{Dir: paths.AgentPKI(), Server: cfg.ServerURL}
	for text := range strings.SplitSeq(cfg.NodeIP, ",") {
		address, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("node-ip: %w", err)
		}
		keeper.Addresses = append(keeper.Addresses, address)
	}
	return keeper, nil
}

// errNoAnswer stands for all that passes by itself: which server is not reached and why is the load balancer's to say.
var errNoAnswer = errors.New("no server answers")

// admit looks after the credentials from now on, and returns when the cluster has not said that the node was deleted.
// A server that cannot say keeps nobody out: the kubelet finds out by itself what it may.
func admit(ctx context.Context, keeper *renewal.Keeper, state *agentState, again context.CancelCauseFunc) error {
	first := make(chan struct{}, 1)
	go func() {
		err := keeper.Keep(ctx, func(err error) {
			if site.Temporary(err) {
				err = errNoAnswer
			}
			state.trouble(err)
			if !errors.Is(err, renewal.ErrDeleted) {
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
		if err != nil {
			again(fmt.Errorf("%w: starting again with the new ones", err))
		}
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-first:
		return nil
	}
}
