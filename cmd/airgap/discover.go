package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"airgap/internal/discovery"
	"airgap/internal/site"
)

const (
	// discoverServer stands for the server's URL where it is to be found on the LAN.
	discoverServer = "discover"
	findPatience   = 10 * time.Second
)

var _ = register(newDiscoverCommand)

func newDiscoverCommand(e *env) *cobra.Command {
	var output string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Find the servers on the LAN that announce themselves",
		Long: `Find the servers on the LAN that announce themselves, which a server does with --announce. What
is found is a hint, for anybody on the LAN can answer: whom a machine joins is decided by its token.`,
		Example: `  airgap discover
  airgap install --server discover --token-file token --key site.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.discover(cmd.Context(), patience, output) },
	}
	cmd.Flags().DurationVar(&patience, "timeout", 3*time.Second, "how long to wait for answers")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func (e *env) discover(ctx context.Context, patience time.Duration, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := discovery.Find(ctx, nil)
	if err != nil {
		return err
	}
	if output == outputJSON {
		return e.printJSON(append([]discovery.Server{}, found...))
	}
	if len(found) == 0 {
		return withHint(fmt.Errorf("no server on the LAN announces itself within %s", patience), "start one with --announce, or ask for its address")
	}
	p := &printer{w: e.stdout}
	for _, s := range found {
		p.line("%s  node %s, authorities %s", s.URL, s.Node, s.CAHash)
	}
	return p.err
}

// findServer returns the URL of a server that announces itself and whose authorities are those of the token.
func findServer(ctx context.Context, token site.Token, patience time.Duration) (string, error) {
	if token.CAHash == "" {
		return "", &usageError{errors.New("--server discover needs a token with the hash of the cluster's authorities, K10…: without it no server can be told from another")}
	}
	ours := func(s discovery.Server) bool { return s.CAHash == token.CAHash }
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := discovery.Find(ctx, func(all []discovery.Server) bool { return slices.ContainsFunc(all, ours) })
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(found, ours); i >= 0 {
		return found[i].URL, nil
	}
	return "", withHint(fmt.Errorf("no server of the token's cluster announces itself on the LAN, and %d of other clusters", len(found)),
		"start its server with --announce, or name it: --server https://address:6443")
}
