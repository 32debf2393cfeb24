package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"airgap/installer"
)

var _ = register(newCheckCommand)

func newCheckCommand(e *env) *cobra.Command {
	f := &installFlags{getenv: e.getenv}
	cmd := &cobra.Command{
		Use:   "check [BUNDLE]",
		Short: "Find everything that could stop an install on this machine, or hurt it later",
		Long: `Find everything that could stop an install on this machine, or hurt the node later. Whatever was looked at
is reported as pass, warn or fail, the latter two with what comes of it and a remedy. With a bundle, its signature, size and
platforms are checked too. With --server and a token, the server is asked what it has against the machine: its name,
address, version; and whether it is a clone. Nothing is changed. What the kernel can do is tried as root alone.`,
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
	Fit      bool                `json:"fit"` // no failure
	Findings []installer.Finding `json:"findings"`
}

func (e *env) check(ctx context.Context, bundle string, f *installFlags) error {
	opts, err := f.options(ctx, bundle)
	if err != nil {
		return err
	}
	if opts.Media, err = f.from.options(e, bundle); err != nil {
		return err
	}
	findings, err := installer.Check(ctx, opts)
	var problems *installer.PreflightError
	if err != nil && !errors.As(err, &problems) {
		return installError(err)
	}
	if f.output == outputJSON {
		err = e.printJSON(checkReport{Fit: problems == nil, Findings: findings})
	} else {
		_, noColour := e.getenv("NO_COLOR") // no-color.org
		_, err = io.WriteString(e.stdout, checkScreen(findings, isTerminal(e.stdout) && !noColour))
	}
	if problems != nil { // which have been told
		err = errors.Join(err, &preflightError{errors.New(problems.Summary())})
	}
	return err
}
