//go:build !desk

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/internal/sdnotify"
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
			given, err := e.readServerConfig(cmd.Flags(), cfg, file)
			if err == nil {
				err = given.locate(errors.Join(cfg.Complete(), cfg.ReadTokens()))
			}
			if err != nil {
				return &usageError{err}
			}
			forgetSecrets()
			if os.Geteuid() != 0 {
				return errors.New("the node runs containers and must run as root")
			}
			percent := gcPercent
			if cfg.Has(config.ProfileEdge) {
				percent = edgeServerGCPercent
			}
			beLight(timerSlack, percent, cfg.EnablePprof)
			options, err := nodeOptions()
			if err != nil {
				return err
			}
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
func (e *env) readServerConfig(flags *pflag.FlagSet, cfg *config.Server, file string) (*settings, error) {
	if err := checkCommandLine(flags); err != nil {
		return nil, err
	}
	given := newSettings(flags)
	if err := given.addEnvironment(e.getenv); err != nil {
		return nil, err
	}
	path := configFile(file, cfg.DataDir)
	if err := given.addFile(path, file != ""); err != nil {
		return nil, err
	}
	if given.from[flagEndpoint].kind == fromFile && hasPassword(cfg.DatastoreEndpoint) {
		return given, checkPrivate(path)
	}
	return given, nil
}

// nodeOptions hands this process's surroundings to the node. What is about airgap's own way
// of being started ends here: the shims, and so every pod's monitor, inherit the rest.
func nodeOptions() (node.Options, error) {
	self, err := os.Executable()
	if err != nil {
		return node.Options{}, err
	}
	manager := sdnotify.New(os.Getenv(sdnotify.SocketVariable), os.Getenv(sdnotify.WatchdogVariable))
	for _, name := range []string{sdnotify.SocketVariable, sdnotify.WatchdogVariable, sdnotify.WatchdogPIDVariable} {
		os.Unsetenv(name)
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, prefixAirgap) || strings.HasPrefix(name, prefixK3s)
	})
	return node.Options{Executable: self, Env: env, Log: os.Stderr, Airgap: stampedVersions().Airgap, Manager: manager}, nil
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

// forgetSecrets takes secrets that have been read out of the environment, which child processes inherit.
func forgetSecrets() {
	for _, flag := range secretFlags {
		for _, variable := range variablesOf(flag) {
			os.Unsetenv(variable)
		}
	}
}
