package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"airgap/installer"
	"airgap/node/config"
)

var _ = register(newStatusCommand)

func newStatusCommand(e *env) *cobra.Command {
	var dataDir, kubeconfig, output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how this machine stands: service, node, pods, releases, bundles",
		Long: `Show how this machine stands: service, node, pods, releases, and the bundles it has
accepted. The exit code is 1 if anything is amiss.`,
		Example: `  airgap status
  airgap status --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.status(cmd.Context(), dataDir, kubeconfig, output)
		},
	}
	cmd.Flags().StringVarP(&dataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of everything the node keeps")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "the administrator's kubeconfig `file` (default: where the node writes it)")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func (e *env) status(ctx context.Context, dataDir, kubeconfig, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	s, err := installer.ReadStatus(ctx, dataDir, kubeconfig)
	if errors.Is(err, installer.ErrNotInstalled) {
		return withHint(err, "install a bundle with `airgap install`, or name its folder with --data-dir")
	}
	if err != nil {
		return err
	}
	if output == outputJSON {
		err = e.printJSON(s)
	} else {
		err = e.printStatus(s)
	}
	if err == nil && !s.Healthy() {
		err = fmt.Errorf("not healthy: %s", strings.Join(s.Problems, "; "))
	}
	return err
}

// printStatus prints one screen.
func (e *env) printStatus(s *installer.Status) error {
	p := &printer{w: e.stdout}
	row := func(name, format string, args ...any) {
		p.line("%-9s %s", name, fmt.Sprintf(format, args...))
	}
	row("service", "%s", s.Service)
	if s.Airgap != "" {
		row("version", "airgap %s, Kubernetes %s", s.Airgap, s.Kubernetes)
	}
	row("api", "%s", s.API)
	if s.Datastore != nil {
		row("datastore", "%s %s", s.Datastore.Datastore, ready(s.Datastore.Problem == "", s.Datastore.Problem))
	}
	for _, n := range s.Nodes {
		row("node", "%s %s %s", n.Name, ready(n.Ready, n.Message), n.Version)
	}
	if s.API == "ready" {
		row("pods", "%d of %d ready", s.Pods.Total-len(s.Pods.NotReady), s.Pods.Total)
	}
	for _, name := range s.Pods.NotReady {
		row("", "%s", name)
	}
	for _, r := range s.Releases {
		row("release", "%s/%s %s", r.Namespace, r.Name, ready(r.Ready, r.State))
	}
	for _, b := range s.Bundles {
		row("bundle", "%s %s, accepted %s", b.Name, b.Version, b.Time.Format(time.RFC3339))
	}
	if last := s.LastInstall; last != nil {
		signed := "signed by " + strings.Join(last.Signers, ", ")
		if last.Unsigned {
			signed = "NOT SIGNED"
		}
		row("installed", "%s %s at %s in %.1f s, %s", last.Bundle, last.Version, last.Finished.Format(time.RFC3339),
			last.Finished.Sub(last.Started).Seconds(), signed)
	}
	return p.err
}

// ready says Ready, or what instead.
func ready(is bool, otherwise string) string {
	if is {
		return "Ready"
	}
	return "not Ready (" + otherwise + ")"
}
