//go:build !desk

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/node"
	"airgap/node/config"
)

var _ = register(newServerCommand)

func newServerCommand(e *env) *cobra.Command {
	cfg := config.NewServer()
	var file string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a node with a control plane (what the service runs)",
		Example: `  airgap server
  airgap server --data-dir /srv/airgap --https-listen-port 7443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.readServerConfig(cmd.Flags(), cfg, file); err != nil {
				return &usageError{err}
			}
			tokensFromEnvironment(cmd.Flags())
			if err := errors.Join(cfg.Complete(), cfg.ReadTokens()); err != nil {
				return &usageError{err}
			}
			if os.Geteuid() != 0 {
				return errors.New("the node runs containers and must run as root")
			}
			beLight(timerSlack, cfg.Has(config.ProfileEdge))
			notify := systemdNotifier()
			options, err := nodeOptions()
			if err != nil {
				return err
			}
			options.Notify = notify
			ctx, stop := restartOnSignal(cmd.Context())
			defer stop()
			return node.Server(ctx, cfg, options)
		},
	}
	addServerFlags(cmd.Flags(), cfg)
	cmd.Flags().StringVarP(&file, "config", "c", "", "YAML configuration `file` (default: "+config.DefaultConfigFile+")")
	return cmd
}

// readServerConfig adds to what the command line gives what the environment and the configuration file have.
func (e *env) readServerConfig(flags *pflag.FlagSet, cfg *config.Server, file string) error {
	if err := applyDatastoreEnvironment(flags, e.getenv); err != nil {
		return err
	}
	fromEnvironment := flags.Changed(flagEndpoint)
	path := configFile(file, cfg.DataDir)
	if err := applyConfigFile(flags, path, file != ""); err != nil {
		return err
	}
	if !fromEnvironment && hasPassword(cfg.DatastoreEndpoint) {
		return checkPrivate(path)
	}
	return nil
}

// nodeOptions hands this process's surroundings to the node. What is about airgap's own way
// of being started ends here: the shims, and so every pod's monitor, inherit the rest.
func nodeOptions() (node.Options, error) {
	self, err := os.Executable()
	if err != nil {
		return node.Options{}, err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "AIRGAP_EXECUTABLE" || name == "AIRGAP_DATA_DIR" || name == "AIRGAP_URL" || datastoreVariables[name] != ""
	})
	return node.Options{Executable: self, Env: env, Log: os.Stderr, Airgap: stampedVersions().Airgap}, nil
}

// errRestart ends the server in a way that makes whoever looks after it start it again.
var errRestart = errors.New("restarting, as a signal asks for")

// restartOnSignal ends the context with errRestart at config.RestartSignal: the verbs that change what a server reads
// at its start only send it.
func restartOnSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, config.RestartSignal)
	go func() {
		select {
		case <-asked:
			cancel(errRestart)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(asked); cancel(nil) }
}

// tokenVariables are the environment's names for flags whose values must not be seen in the list of processes.
var tokenVariables = map[string]string{
	"token": "AIRGAP_TOKEN", "token-file": "AIRGAP_TOKEN_FILE",
	"agent-token": "AIRGAP_AGENT_TOKEN", "agent-token-file": "AIRGAP_AGENT_TOKEN_FILE",
}

// tokensFromEnvironment sets the flags of tokens that nothing else has set, and takes them out of the
// environment, which the pods' shims inherit.
func tokensFromEnvironment(flags *pflag.FlagSet) {
	for name, variable := range tokenVariables {
		if value := os.Getenv(variable); value != "" && !flags.Changed(name) {
			_ = flags.Set(name, value) // a string: cannot fail
		}
		os.Unsetenv(variable)
	}
}

func configFile(given, dataDir string) string {
	if given != "" {
		return given
	}
	return config.PathsOf(dataDir).ConfigFile()
}

// systemdNotifier takes the service manager's socket out of the environment, where
// Kubernetes' components would each announce themselves on it, and returns how to say
// that the whole node is up.
func systemdNotifier() func() {
	socket := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	return func() {
		if socket == "" {
			return
		}
		os.Setenv("NOTIFY_SOCKET", socket)
		_, _ = daemon.SdNotify(true, daemon.SdNotifyReady)
	}
}
