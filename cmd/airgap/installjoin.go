package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"airgap/installer"
	"airgap/internal/site"
	"airgap/node/config"
)

// flagServer names the server to join.
const flagServer = "server"

// joining is what --server and its companions ask for; nil without --server. The token comes from a flag, a file or the
// environment, and goes to the installer alone.
func (f *installFlags) joining(bundle string) (*installer.JoinOptions, error) {
	joins := f.node.Changed(flagServer)
	switch {
	case f.role != "" && f.role != "server" && f.role != "agent":
		return nil, fmt.Errorf("--role %q: want server or agent", f.role)
	case joins && f.role == "server":
		return nil, errors.New("--role server with --server: this version has one server to a cluster; leave --role out to join as an agent, or --server to begin a cluster")
	case !joins && f.role == "agent":
		return nil, errors.New("--role agent: an agent joins a server: say which with --server, and give --token")
	case !joins && bundle == "" && f.needsBundle:
		return nil, errors.New("nothing to install: name a bundle, or a cluster's server with --server")
	case !joins:
		return nil, nil
	case f.dryRun:
		return nil, errors.New("--dry-run with --server: what there is to install is seen only by joining")
	}
	if f.join != discoverServer {
		if err := site.CheckServer(f.join); err != nil {
			return nil, err
		}
	}
	tokens := f.server.Tokens
	if value, set := f.getenv("AIRGAP_TOKEN"); set && tokens.Token == "" && tokens.TokenFile == "" {
		tokens.Token = value
	}
	if file, set := f.getenv("AIRGAP_TOKEN_FILE"); set && tokens.Token == "" && tokens.TokenFile == "" {
		tokens.TokenFile = file
	}
	if err := tokens.ReadTokens(); err != nil {
		return nil, err
	}
	join := &installer.JoinOptions{Server: f.join, Kubernetes: stampedVersions().Kubernetes}
	if tokens.Token != "" { // not needed by a machine that has joined
		var err error
		if join.Token, err = site.ParseToken(tokens.Token); err != nil {
			return nil, fmt.Errorf("--token: %w", err)
		}
	}
	f.server.Tokens = config.Tokens{} // they are no agent's
	return join, nil
}

// isTokenFlag says whether a flag is about a token: none is written to an agent's configuration.
func isTokenFlag(name string) bool { return strings.Contains(name, "token") }

// checkAgentFlags refuses settings that are a server's, or the whole cluster's.
func (f *installFlags) checkAgentFlags() error {
	own := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	addAgentFlags(own, config.NewAgent())
	var errs []error
	f.node.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed && flag.Name != flagServer && !isTokenFlag(flag.Name) && own.Lookup(flag.Name) == nil {
			errs = append(errs, fmt.Errorf("--%s is for servers; this machine joins as an agent, and takes it from its server", flag.Name))
		}
	})
	return errors.Join(errs...)
}

// installJoining joins, and installs what the cluster has or the bundle that was named.
func (e *env) installJoining(ctx context.Context, opts installer.Options, output string, began time.Time) error {
	reports, err := installer.Join(ctx, opts)
	if err != nil {
		return installError(err)
	}
	if output == outputJSON {
		return e.printJSON(reports)
	}
	p := &printer{w: e.stdout}
	for _, report := range reports {
		p.line("%s %s is installed", report.Bundle, report.Version)
	}
	last := reports[len(reports)-1]
	if last.NotStarted {
		p.line("the node starts at the next boot (%.1f s)", e.now().Sub(began).Seconds())
	} else {
		p.line("%s is a node of the cluster of %s (%.1f s)", last.Node, opts.Join.Server, e.now().Sub(began).Seconds())
	}
	return p.err
}
