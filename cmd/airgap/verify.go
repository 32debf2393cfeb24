package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/internal/atrest"
	"airgap/internal/progress"
	"airgap/node/config"
)

var _ = register(newVerifyCommand)

func newVerifyCommand(e *env) *cobra.Command {
	var trust trustFlags
	var dataDir, output string
	var from mediaFlags
	cmd := &cobra.Command{
		Use:   "verify BUNDLE",
		Short: "Check a bundle's signature and every one of its bytes",
		Long: `Check a bundle's signature and every one of its bytes, reading it once. With several --key,
any one of them is enough, or with --threshold as many as it says. On an installed machine --key can be left out: the keys
that the machine trusts count.

` + bundleHelp,
		Example: `  airgap verify site.airgap --key site.pub
  airgap verify site.airgap --key ann.pub --key bob.pub --key eve.pub --threshold 2
  airgap verify /media/stick/site.airgap --key site.pub --output json
  ssh desk cat site.airgap | airgap verify - --key site.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.verify(cmd.Context(), args[0], &from, trust, dataDir, output)
		},
	}
	trust.add(cmd)
	cmd.Flags().StringVarP(&dataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of the node whose trusted keys count without --key")
	from.add(cmd)
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

	Attestations []attestationReport `json:"attestations"`
}

// attestationReport is a statement that the bundle carries, and whose it is.
type attestationReport struct {
	PredicateType string   `json:"predicateType"`
	Signers       []string `json:"signers"` // IDs of accepted keys; none if others made it, for whom the signers of the bundle vouch
}

// attestationsOf reports the statements that reader has checked.
func attestationsOf(reader *bundle.Reader) []attestationReport {
	list := []attestationReport{}
	for _, a := range reader.Attestations() {
		list = append(list, attestationReport{a.PredicateType, append([]string{}, a.Signers...)})
	}
	return list
}

func (e *env) verify(ctx context.Context, path string, from *mediaFlags, trust trustFlags, dataDir, output string) error {
	began := e.now()
	_, _ = atrest.UnmapUnused() // what the start needed; without it all works as well
	if err := checkOutput(output); err != nil {
		return err
	}
	policy, err := trust.policy(dataDir)
	if err != nil {
		return err
	}
	reader, err := e.openBundle(ctx, path, policy, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	bar := e.progress("verify", output)
	defer bar.Stop()
	if err := reader.Verify(ctx, bar.Set); err != nil {
		return fmt.Errorf("%s: %w", media.Name(path), missingBundle(err, path))
	}
	bar.Done()
	manifest, signers := reader.Manifest(), reader.Signers()
	report := verifyReport{
		Bundle: media.Name(path), Name: manifest.Name, Version: manifest.Version, IssuedAt: manifest.IssuedAt,
		Bytes: manifest.Size(), Signers: signers, Seconds: e.now().Sub(began).Seconds(), Attestations: attestationsOf(reader),
	}
	if output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	p.line("%s: good: %s %s, issued %s, %s, %s", report.Bundle, report.Name, report.Version, report.IssuedAt,
		progress.Bytes(report.Bytes), counts(manifest))
	p.lines(deltaLine(manifest))
	p.line("signed by key ID %s", strings.Join(signers, ", "))
	for _, a := range report.Attestations {
		by := "by keys that are not among those given"
		if len(a.Signers) > 0 {
			by = "by key ID " + strings.Join(a.Signers, ", ")
		}
		p.line("attested: %s, %s", a.PredicateType, by)
	}
	return p.err
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
