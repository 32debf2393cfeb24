//go:build !desk

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"airgap/internal/site"
	"airgap/node/pki"
	"airgap/node/token"
)

var _ = register(newTokenCommand)

func newTokenCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Manage the tokens that machines join this cluster with",
		Long: `Manage the tokens that machines join this cluster with.

A server has two that do not end, in its folder: server/token for servers and agents,
server/agent-token for agents alone. Bootstrap tokens end, after a day unless told otherwise.
A token is shown when it is made, and by nothing else but its file.`,
		Example: `  airgap token create --ttl 2h --description "line 4"
  airgap token create --print-join
  airgap token list
  AIRGAP_TOKEN="$(cat /var/lib/airgap/server/token)" airgap token rotate`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreateCommand(e), newTokenDeleteCommand(e), newTokenGenerateCommand(e), newTokenListCommand(e), newTokenRotateCommand(e))
	return cmd
}

func newTokenCreateCommand(e *env) *cobra.Command {
	var at serverAt
	var o token.Options
	var printJoin bool
	cmd := &cobra.Command{
		Use:   "create [ID.SECRET]",
		Short: "Put a bootstrap token into the cluster and print it",
		Long: `Put a bootstrap token into the cluster and print it, or, with --print-join, the one line to type on
another machine. A machine whose trust store is empty needs the site's public key there too (--key site.pub).`,
		Example: `  airgap token create --ttl 2h
  airgap token create --print-join
  airgap token create "$(airgap token generate)"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Text = args[0]
			}
			return e.createToken(cmd.Context(), &at, o, printJoin)
		},
	}
	at.add(cmd)
	cmd.Flags().DurationVar(&o.TTL, "ttl", token.DefaultTTL, "how long it lasts; 0: until it is deleted")
	cmd.Flags().StringVar(&o.Description, "description", "", "what it is for")
	cmd.Flags().StringSliceVar(&o.Groups, "groups", []string{token.DefaultGroup}, "`groups` that it authenticates as")
	cmd.Flags().StringSliceVar(&o.Usages, "usages", token.DefaultUsages, "`ways` it can be used in: signing, authentication")
	addPrintJoinFlag(cmd, &printJoin)
	return cmd
}

func (e *env) createToken(ctx context.Context, at *serverAt, o token.Options, printJoin bool) error {
	bundle, err := os.ReadFile(filepath.Join(at.paths().TLS(), pki.ClusterCABundle+".crt"))
	if err != nil {
		return withHint(err, "run this as root on the server's machine")
	}
	client, err := at.client()
	if err != nil {
		return err
	}
	made, err := token.Create(ctx, client, e.now(), o)
	if errors.Is(err, site.ErrTokenFormat) {
		return &usageError{err}
	}
	if err != nil {
		return err
	}
	made.CAHash = site.HashCA(bundle)
	return e.printToken(ctx, client, made, printJoin)
}

func newTokenDeleteCommand(e *env) *cobra.Command {
	var at serverAt
	cmd := &cobra.Command{
		Use:     "delete ID…",
		Short:   "Take bootstrap tokens out of the cluster",
		Example: "  airgap token delete abcdef",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := at.client()
			if err != nil {
				return err
			}
			var errs []error
			p := &printer{w: e.stdout}
			for _, name := range args {
				if id, err := token.Delete(cmd.Context(), client, name); err != nil {
					errs = append(errs, err)
				} else {
					p.line("bootstrap token %s is deleted", id)
				}
			}
			return errors.Join(append(errs, p.err)...)
		},
	}
	at.add(cmd)
	return cmd
}

func newTokenGenerateCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "generate",
		Short: "Print a new bootstrap token that is in no cluster yet",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := token.Generate()
			if err != nil {
				return err
			}
			p := &printer{w: e.stdout}
			p.line("%s", text)
			return p.err
		},
	}
}

func newTokenListCommand(e *env) *cobra.Command {
	var at serverAt
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the cluster's bootstrap tokens, without their secrets",
		Example: "  airgap token list --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			client, err := at.client()
			if err != nil {
				return err
			}
			list, err := token.List(cmd.Context(), client)
			if err != nil {
				return err
			}
			if output == outputJSON {
				return e.printJSON(list)
			}
			table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tENDS\tUSAGES\tGROUPS\tDESCRIPTION")
			for _, b := range list {
				ends := "never"
				if !b.Expires.IsZero() {
					ends = b.Expires.Format(time.RFC3339)
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", b.ID, ends, strings.Join(b.Usages, ","), strings.Join(b.Groups, ","), b.Description)
			}
			return table.Flush()
		},
	}
	at.add(cmd)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func newTokenRotateCommand(e *env) *cobra.Command {
	var at serverAt
	var present, replacement string
	var printJoin bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the server's token",
		Long: `Replace the server's token. Machines that have joined go on; machines that join need the new
one, which is printed. The present token must be given, so that no other cluster's is replaced by mistake.`,
		Example: `  AIRGAP_TOKEN="$(cat /var/lib/airgap/server/token)" airgap token rotate`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if present == "" {
				present, _ = e.getenv("AIRGAP_TOKEN")
			}
			if replacement == "" {
				replacement, _ = e.getenv("AIRGAP_NEW_TOKEN")
			}
			var client kubernetes.Interface // for the line to type; a rotation itself needs no running server
			if printJoin {
				var err error
				if client, err = at.client(); err != nil {
					return err
				}
			}
			fresh, err := token.Rotate(at.paths(), present, replacement)
			if errors.Is(err, site.ErrTokenFormat) {
				return &usageError{err}
			}
			if err != nil {
				return err
			}
			return e.printToken(cmd.Context(), client, fresh, printJoin)
		},
	}
	at.add(cmd)
	addPrintJoinFlag(cmd, &printJoin)
	cmd.Flags().StringVarP(&present, "token", "t", "", "the present `token` (better in AIRGAP_TOKEN)")
	cmd.Flags().StringVar(&replacement, "new-token", "", "the new `secret` (better in AIRGAP_NEW_TOKEN; default: one is made)")
	return cmd
}
