//go:build !desk

package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"airgap/node/config"
	"airgap/node/pki"
)

var _ = register(newCertificateCommand)

func newCertificateCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certificate",
		Short: "Check and replace this server's certificates and authorities",
		Long: `Check and replace this server's certificates and authorities.

Certificates need no care: a server renews its own while it runs, when a third of their
year is left. These verbs are for whoever wants to see that, for keys that may have
become known to others, and for another certificate authority.`,
		Example: `  airgap certificate check
  airgap certificate rotate --service admin
  airgap certificate rotate-ca --restart`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertificateCheckCommand(e), newCertificateRotateCommand(e), newRotateCACommand(e))
	return cmd
}

func newCertificateCheckCommand(e *env) *cobra.Command {
	var at serverAt
	var output string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "List every certificate with its issuer and its end; fail if one is expired or due",
		Example: `  airgap certificate check
  airgap certificate check --output json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			list, err := pki.Issuer{Now: e.now}.List(at.paths(), at.kubeconfigFile())
			if err != nil {
				return withHint(err, "name the server's folder with --data-dir, and run this as root")
			}
			if output == outputJSON {
				err = e.printJSON(list)
			} else {
				err = e.printCertificates(list)
			}
			return errors.Join(err, complain(list))
		},
	}
	at.add(cmd)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// complain is the error for certificates that need something done.
func complain(list []pki.Certificate) error {
	var bad []string
	for _, c := range list {
		if c.Status != pki.StateGood {
			bad = append(bad, fmt.Sprintf("%s is %s", c.File, c.Status))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return withHint(errors.New(strings.Join(bad, "; ")), "a start of the server makes them anew, except authorities: for those see `airgap certificate rotate-ca`")
}

func (e *env) printCertificates(list []pki.Certificate) error {
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVICE\tSUBJECT\tISSUER\tENDS\tDAYS\tSTATUS\tFILE")
	for _, c := range list {
		ends := "-"
		if !c.NotAfter.IsZero() {
			ends = c.NotAfter.Format(time.DateOnly)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", c.Service, c.Subject, c.Issuer, ends, c.DaysLeft, c.Status, c.File)
	}
	return table.Flush()
}

func newCertificateRotateCommand(e *env) *cobra.Command {
	var at serverAt
	var services []string
	var restart bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make certificates anew, with new keys",
		Long: `Make certificates anew, with new keys: those of the named services, or all.

A running server takes over most within five minutes; the kubelet's own client certificate,
and connections that are open, follow at its next start. Whoever has the old ones can
use them until they end: only a new authority (rotate-ca) takes that away.`,
		Example: `  airgap certificate rotate --restart
  airgap certificate rotate --service admin,api-server`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rotated, err := pki.Issuer{Now: e.now}.Rotate(at.paths(), at.kubeconfigFile(), services)
			if err != nil {
				return err
			}
			if err := e.printCertificates(rotated); err != nil {
				return err
			}
			return e.afterChange(cmd.Context(), &at, restart)
		},
	}
	at.add(cmd)
	cmd.Flags().StringSliceVarP(&services, "service", "s", nil, "`names` of the services: "+strings.Join(pki.Services(), ", ")+" (default: all)")
	cmd.Flags().BoolVar(&restart, "restart", false, "restart the server afterwards; pods go on")
	return cmd
}

func newRotateCACommand(e *env) *cobra.Command {
	var at serverAt
	var path string
	var force, restart bool
	cmd := &cobra.Command{
		Use:   "rotate-ca",
		Short: "Replace the certificate authorities in three stages, under a running cluster",
		Long: `Replace the certificate authorities in three stages, each begun by calling this verb:

  trust    the new authorities are trusted beside the old ones
  reissue  the new ones sign, and every certificate is made anew
  finish   the old ones are no longer trusted

The server must be restarted after each stage (--restart does it; pods go on). Between trust
and reissue every pod that talks to the API needs the new authorities too: they reach its files
within two minutes, but many programs read them at their start only, so restart those pods.

The new authorities are made, or taken from the folder --path: ca.crt, ca.key,
front-proxy-ca.crt and front-proxy-ca.key. Those that the present ones have not signed are refused,
unless --force is given. The administrator's kubeconfig is written anew; copies of it must be replaced before the end.`,
		Example: `  airgap certificate rotate-ca --restart
  airgap certificate rotate-ca --path /root/authorities --restart`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stage, err := pki.RotationStage(at.paths())
			if err != nil {
				return err
			}
			if stage == pki.StageNone {
				err = pki.Issuer{Now: e.now}.StartRotation(at.paths(), path, force)
				stage = pki.StageTrust
			} else if path != "" {
				return &usageError{fmt.Errorf("--path: a rotation is under way, in stage %s: call this verb without it to go on", stage)}
			} else {
				stage, err = pki.AdvanceRotation(at.paths())
			}
			var refused *pki.AuthorityError
			if errors.As(err, &refused) && refused.Forceable {
				return withHint(err, "sign it with the present one, or give --force")
			}
			if err != nil {
				return err
			}
			p := &printer{w: e.stdout}
			p.line("stage %s: %s", stage, stageMeaning[stage])
			if p.err != nil {
				return p.err
			}
			return e.afterChange(cmd.Context(), &at, restart)
		},
	}
	at.add(cmd)
	cmd.Flags().StringVar(&path, "path", "", "`folder` with the new authorities (default: they are made)")
	cmd.Flags().BoolVar(&force, "force", false, "accept authorities that the present ones have not signed")
	cmd.Flags().BoolVar(&restart, "restart", false, "restart the server afterwards; pods go on")
	return cmd
}

var stageMeaning = map[pki.Stage]string{
	pki.StageTrust:   "the new authorities are trusted beside the old ones; after the restart, restart pods that talk to the API, then call this verb again",
	pki.StageReissue: "the new authorities sign; after the restart call this verb again",
	pki.StageFinish:  "the old authorities are no longer trusted once the server has been restarted; the rotation is over",
}

// serverAt is where a verb finds the server it is about.
type serverAt struct{ dataDir, kubeconfig string }

func (a *serverAt) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.dataDir, "data-dir", "d", nodeDataDir(), "`folder` of everything the server keeps")
	cmd.Flags().StringVar(&a.kubeconfig, "kubeconfig", "", "the administrator's kubeconfig `file` (default: where the server writes it)")
}

func (a *serverAt) paths() config.Paths { return config.PathsOf(a.dataDir) }

func (a *serverAt) kubeconfigFile() string {
	if a.kubeconfig != "" {
		return a.kubeconfig
	}
	return a.paths().Kubeconfig()
}
