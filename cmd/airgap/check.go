package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"airgap/installer"
)

var _ = register(newCheckCommand)

func newCheckCommand(e *env) *cobra.Command {
	f := &installFlags{getenv: e.getenv}
	cmd := &cobra.Command{
		Use:   "check [BUNDLE]",
		Short: "Find everything that could stop an install on this machine",
		Long: `Find everything that could stop an install on this machine: every problem is reported, not the
first, each with its remedy. With a bundle, its signature, size and platforms are checked too. With --server and
a token, the server is asked what it has against the machine: its name, address, version; and whether it is a clone.
Nothing is changed.`,
		Example: `  airgap check
  airgap check site.airgap --key site.pub
  airgap check --server https://10.0.0.1:6443 --token-file token`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bundle := ""
			if len(args) > 0 {
				bundle = args[0]
			}
			return e.check(cmd.Context(), bundle, f)
		},
	}
	f.add(cmd)
	return cmd
}

// checkReport is what check prints as JSON.
type checkReport struct {
	Fit      bool                `json:"fit"` // no problem, warnings aside
	Findings []installer.Finding `json:"findings"`
}

func (e *env) check(ctx context.Context, bundle string, f *installFlags) error {
	opts, err := f.options(ctx, bundle)
	if err != nil {
		return err
	}
	findings, err := installer.Check(ctx, opts)
	var problems *installer.PreflightError
	if err != nil && !errors.As(err, &problems) {
		return installError(err)
	}
	if f.output == outputJSON {
		report := checkReport{Fit: problems == nil, Findings: findings}
		if report.Findings == nil {
			report.Findings = []installer.Finding{}
		}
		return errors.Join(e.printJSON(report), installError(err))
	}
	p := &printer{w: e.stdout}
	for _, finding := range findings {
		if finding.Warning {
			p.line("warning: %s", finding)
		}
	}
	if problems == nil {
		p.line("this machine can take the install")
	}
	return errors.Join(p.err, installError(err))
}
