//go:build !desk

package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/internal/hostinfo"
	"airgap/internal/site"
	"airgap/node"
	"airgap/node/config"
)

var _ = register(newAgentCommand)

// agentFlags are those of `airgap agent`.
type agentFlags struct {
	config *config.Agent
	join   config.Join
	file   string // --config
	from   string // a configuration that a server hands over to its own agent
}

func newAgentCommand(e *env) *cobra.Command {
	f := &agentFlags{config: config.NewAgent()}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run a node without a control plane (what the service runs)",
		Long: `Run a node of a cluster whose control plane is on other machines. With --server and --token the
machine joins that cluster first, if it has not joined one; afterwards it needs neither. What all nodes of
a cluster have to agree on, such as --cluster-cidr, comes from there.`,
		Example: `  airgap agent --server https://10.0.0.1:6443 --token-file /root/token
  airgap agent`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := nodeOptions()
			if err != nil {
				return err
			}
			if f.from != "" {
				return runServersAgent(cmd.Context(), f.from, options)
			}
			given, err := e.readAgentConfig(cmd.Flags(), f)
			if err == nil {
				err = given.locate(errors.Join(f.config.Complete(), f.join.ReadToken()))
			}
			if err != nil {
				return &usageError{err}
			}
			forgetSecrets()
			return runAgent(cmd.Context(), f, options)
		},
	}
	addAgentFlags(cmd.Flags(), f.config)
	addJoinFlags(cmd.Flags(), &f.join)
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "YAML configuration `file` (default: "+config.DefaultConfigFile+")")
	cmd.Flags().StringVar(&f.from, "from", "", "`file` with the agent's configuration, written by the server on this machine")
	_ = cmd.Flags().MarkHidden("from")
	return cmd
}

// readAgentConfig adds to what the command line gives what the environment and the configuration file have.
func (e *env) readAgentConfig(flags *pflag.FlagSet, f *agentFlags) (*settings, error) {
	given := newSettings(flags)
	if err := given.addEnvironment(e.getenv); err != nil {
		return nil, err
	}
	return given, given.addFile(configFile(f.file, f.config.DataDir), f.file != "")
}

// runAgent runs the agent of a machine of its own.
func runAgent(ctx context.Context, f *agentFlags, options node.Options) error {
	version := stampedVersions()
	machine := site.Machine{
		Server: f.join.Server, PKI: config.PathsOf(f.config.DataDir).AgentPKI(),
		NodeName: f.config.NodeName, PeerPort: f.config.PeerPort,
		Airgap: version.Airgap, Kubernetes: version.Kubernetes, Host: hostinfo.This(),
	}
	addresses, err := f.config.NodeAddresses()
	if err != nil {
		return &usageError{err}
	}
	for _, address := range addresses {
		machine.Addresses = append(machine.Addresses, address.String())
	}
	if f.join.Token != "" {
		if machine.Token, err = site.ParseToken(f.join.Token); err != nil {
			return &usageError{err}
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("the node runs containers and must run as root")
	}
	beLight(timerSlack, gcPercent, f.config.EnablePprof)
	if err := prepareAgentEnvironment(f.config.DataDir); err != nil {
		return err
	}
	// A server that hangs is noticed within 25 seconds; 45 is client-go's way (apimachinery's util/net).
	for name, seconds := range map[string]string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "15", "HTTP2_PING_TIMEOUT_SECONDS": "10"} {
		if os.Getenv(name) == "" {
			if err := os.Setenv(name, seconds); err != nil {
				return err
			}
		}
	}
	ctx, stop := restartOnSignal(ctx)
	defer stop()
	return node.JoinedAgent(ctx, f.config, machine, options)
}

// runServersAgent runs the agent that a server on this machine has started.
func runServersAgent(ctx context.Context, file string, options node.Options) error {
	cfg, err := node.LoadAgent(file)
	if err != nil {
		return &usageError{err}
	}
	beLight(timerSlack, gcPercent, cfg.EnablePprof)
	if err := prepareAgentEnvironment(cfg.DataDir); err != nil {
		return err
	}
	return node.Agent(ctx, cfg, options)
}

// prepareAgentEnvironment says where Flannel's WireGuard backend keeps the node's key: it takes it from here only. And it tells
// kube-proxy, which has no other ear for it, to try kernels before 5.13: it takes them for a sign of an old nft, and
// the node has its own; the preflight has tried its rules.
func prepareAgentEnvironment(dataDir string) error {
	return errors.Join(
		os.Setenv("WIREGUARD_KEY_FILE", config.PathsOf(dataDir).WireGuardKey()),
		os.Setenv("KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK", "1"),
	)
}
