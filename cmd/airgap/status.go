package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"airgap/installer"
	"airgap/node/config"
)

var _ = register(newStatusCommand)

// listCertificates reads the server's certificates; nil in a build without the node.
var listCertificates func(e *env, p config.Paths, kubeconfig string) ([]installer.CertificateStatus, error)

func newStatusCommand(e *env) *cobra.Command {
	var o installer.StatusOptions
	var output string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show on one screen how this machine stands, and what is wrong",
		Long: `Show on one screen how this machine stands, and what is wrong: the node and its
components, add-ons, releases, pods, certificates, disk, memory, and the last install.

It works when the API server does not answer and when the node is stopped. Run it as
root: others see less, and are told what. JSON has more detail than the screen; its
fields are added to, never renamed.

The exit code is 0 if the node is healthy, and 1 if anything is not, or cannot be seen.
With --wait a node that has just been installed or switched on gets the time to become it.`,
		Example: `  airgap status
  airgap status --wait 5m
  airgap status --output json | jq -r '.problems[]'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.status(cmd.Context(), o, wait, output)
		},
	}
	cmd.Flags().StringVarP(&o.DataDir, "data-dir", "d", nodeDataDir(), "`folder` of everything the node keeps")
	cmd.Flags().StringVar(&o.Kubeconfig, "kubeconfig", "", "the administrator's kubeconfig `file` (default: where the node writes it)")
	cmd.Flags().DurationVar(&wait, "wait", 0, "until the node is healthy, at most so long")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// statusPoll is between two looks at a node that is waited for: a look is work for it.
const statusPoll = 2 * time.Second

func (e *env) status(ctx context.Context, o installer.StatusOptions, wait time.Duration, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	if listCertificates != nil {
		o.Certificates = func(p config.Paths, kubeconfig string) ([]installer.CertificateStatus, error) {
			return listCertificates(e, p, kubeconfig)
		}
	}
	s, err := installer.ReadStatus(ctx, o)
	for end := time.Now().Add(wait); err == nil && !s.Healthy && time.Now().Add(statusPoll).Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(statusPoll):
		}
		s, err = installer.ReadStatus(ctx, o)
	}
	missing := errors.Is(err, installer.ErrNotInstalled)
	if err != nil && !missing {
		return err
	}
	if output == outputJSON {
		if err := e.printJSON(s); err != nil {
			return err
		}
	}
	if missing {
		return withHint(err, "install a bundle with `airgap install`, or name its folder with --data-dir")
	}
	if output != outputJSON {
		_, noColour := e.getenv("NO_COLOR") // no-color.org
		screen := statusScreen{now: e.now(), colour: isTerminal(e.stdout) && !noColour}
		if _, err := fmt.Fprint(e.stdout, screen.draw(s)); err != nil {
			return err
		}
	}
	switch n := len(s.Problems); {
	case n == 1:
		return errors.New("not healthy: 1 problem")
	case n > 1:
		return fmt.Errorf("not healthy: %d problems", n)
	}
	return nil
}
