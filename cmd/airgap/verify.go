package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/internal/progress"
	"airgap/node/config"
)

var _ = register(newVerifyCommand)

func newVerifyCommand(e *env) *cobra.Command {
	var trust trustFlags
	var dataDir, output string
	cmd := &cobra.Command{
		Use:   "verify BUNDLE",
		Short: "Check a bundle's signature and every one of its bytes",
		Long: `Check a bundle's signature and every one of its bytes, reading it once. With several --key,
any one of them is enough, or with --threshold as many as it says. On an installed machine --key can be left out: the keys
that the machine trusts count.`,
		Example: `  airgap verify site.airgap --key site.pub
  airgap verify site.airgap --key ann.pub --key bob.pub --key eve.pub --threshold 2
  airgap verify /media/stick/site.airgap --key site.pub --output json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.verify(cmd.Context(), args[0], trust, dataDir, output)
		},
	}
	trust.add(cmd)
	cmd.Flags().StringVarP(&dataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of the node whose trusted keys count without --key")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// verifyReport is what verify prints as JSON.
type verifyReport struct {
	Bundle   string   `json:"bundle"`
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	IssuedAt string   `json:"issuedAt"`
	Bytes    int64    `json:"bytes"`
	Signers  []string `json:"signers"` // key IDs
	Seconds  float64  `json:"seconds"`
}

func (e *env) verify(ctx context.Context, path string, trust trustFlags, dataDir, output string) error {
	began := e.now()
	if err := checkOutput(output); err != nil {
		return err
	}
	policy, err := trust.policy(dataDir)
	if err != nil {
		return err
	}
	bar := e.progress("verify", output)
	defer bar.Stop()
	manifest, signers, err := bundle.Verify(ctx, path, policy, bar.Set)
	if err != nil {
		return missingBundle(err)
	}
	bar.Done()
	report := verifyReport{
		Bundle: path, Name: manifest.Name, Version: manifest.Version, IssuedAt: manifest.IssuedAt,
		Bytes: manifest.Size(), Signers: signers, Seconds: e.now().Sub(began).Seconds(),
	}
	if output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	p.line("%s: good: %s %s, issued %s, %s, %s", path, report.Name, report.Version, report.IssuedAt,
		progress.Bytes(report.Bytes), counts(manifest))
	p.line("signed by key ID %s", strings.Join(signers, ", "))
	return p.err
}

// missingBundle makes the absence of the file named on the command line an error of usage.
func missingBundle(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(&usageError{err}, "is the stick mounted?")
	}
	return err
}

// counts says how much of each kind a bundle has: "12 images, 1 chart".
func counts(m *bundle.Manifest) string {
	var parts []string
	for _, part := range []struct {
		n    int
		word string
	}{
		{len(m.Images), "image"}, {len(m.Charts), "chart"}, {len(m.Manifests), "manifest"},
		{len(m.Files), "file"}, {len(m.Distributions), "distribution"},
	} {
		switch {
		case part.n == 1:
			parts = append(parts, "1 "+part.word)
		case part.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", part.n, part.word))
		}
	}
	if len(parts) == 0 {
		return "empty"
	}
	return strings.Join(parts, ", ")
}
