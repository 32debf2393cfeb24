package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"airgap/internal/discovery"
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
  airgap discover --output json | jq -r '.[].url'`,
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
