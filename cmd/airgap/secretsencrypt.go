//go:build !desk

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/node/encryption"
)

var _ = register(newSecretsEncryptCommand)

func newSecretsEncryptCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets-encrypt",
		Short: "Show and change how secrets are encrypted in the datastore",
		Long: `Show and change how secrets are encrypted in the datastore of this machine's server.

Secrets are encrypted from the first start (XSalsa20 and Poly1305, a key of 256 bits). The key
is in the server's folder, so this protects copies of the datastore, not a stolen disk.

Changes need a running server and no restart. One that was cut off continues when it is run again.`,
		Example: `  airgap secrets-encrypt status
  airgap secrets-encrypt rotate-keys`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newSecretsStatusCommand(e),
		newSecretsChangeCommand(e, "rotate-keys", "Make a new key and encrypt every secret with it", (*encryption.Rotator).Rotate),
		newSecretsChangeCommand(e, "enable", "Encrypt secrets from now on, and those that are there",
			func(r *encryption.Rotator, ctx context.Context) error { return r.Enable(ctx, true) }),
		newSecretsChangeCommand(e, "disable", "Store secrets in clear text from now on, and those that are there",
			func(r *encryption.Rotator, ctx context.Context) error { return r.Enable(ctx, false) }),
	)
	return cmd
}

func newSecretsStatusCommand(e *env) *cobra.Command {
	var at serverAt
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the keys, and whether every secret in the datastore is encrypted with the active one",
		Long: `Show the keys, the stage of a rotation, whether the API server works by the file as it
is, and, by the raw values in the datastore, whether every secret is stored as the file says. The exit code is
1 if not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			r, err := e.rotator(cmd.Context(), &at)
			if err != nil {
				return err
			}
			defer r.Store.Close()
			s, err := encryption.ReadStatus(cmd.Context(), r.File, r.Server, r.Store)
			if err != nil {
				return err
			}
			if output == outputJSON {
				err = e.printJSON(s)
			} else {
				err = e.printEncryption(s)
			}
			if err == nil && !s.Complete() {
				err = withHint(errors.New("not every secret is stored as it should be"), "airgap secrets-encrypt rotate-keys (or enable, disable) finishes what was cut off")
			}
			return err
		},
	}
	at.add(cmd)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func newSecretsChangeCommand(e *env, name, short string, change func(*encryption.Rotator, context.Context) error) *cobra.Command {
	var at serverAt
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		Example: "  airgap secrets-encrypt " + name,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := e.rotator(cmd.Context(), &at)
			if err != nil {
				return err
			}
			defer r.Store.Close()
			return change(r, cmd.Context())
		},
	}
	at.add(cmd)
	return cmd
}

func (e *env) rotator(ctx context.Context, at *serverAt) (*encryption.Rotator, error) {
	client, err := at.client()
	if err != nil {
		return nil, err
	}
	cluster := encryption.Cluster{Client: client}
	store, err := cluster.Store(ctx)
	if err != nil {
		return nil, withHint(err, "run this as root on the server's machine, while the server runs")
	}
	return &encryption.Rotator{
		File: encryption.File(at.paths()), Server: cluster, Store: store,
		Report: func(format string, args ...any) { fmt.Fprintf(e.stdout, format+"\n", args...) },
	}, nil
}

// printEncryption prints what K3s' users know, and what the datastore holds.
func (e *env) printEncryption(s *encryption.Status) error {
	p := &printer{w: e.stdout}
	p.line("encryption %s", map[bool]string{true: "enabled", false: "disabled"}[s.Enabled])
	p.line("stage      %s", s.Stage)
	p.line("server     %s %s", map[bool]string{true: "works by", false: "has NOT loaded"}[s.Loaded], s.Hash)
	for _, k := range s.Keys {
		p.line("key        %s %s %s%s", k.Name, k.Type, k.Hash, map[bool]string{true: " active", false: ""}[k.Active])
	}
	p.line("secrets    %d of %d in the datastore are stored so", s.Secrets.Current, s.Secrets.Total)
	for _, name := range s.Secrets.Others {
		p.line("           otherwise: %s", name)
	}
	return p.err
}
