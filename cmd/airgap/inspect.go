package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/internal/progress"
)

var _ = register(newInspectCommand)

func newInspectCommand(e *env) *cobra.Command {
	var trust trustFlags
	var statement statementFlags
	var output string
	var from mediaFlags
	cmd := &cobra.Command{
		Use:   "inspect BUNDLE",
		Short: "Show what is in a bundle",
		Long: `Show what is in a bundle. Only its head is read: this says what the maker signed, not that the rest of
the file is undamaged, which is what verify does. Without --key not even the signature
is checked, and the report says so. --sbom and --provenance print what the bundle was built with
` + "`airgap build --sbom --provenance`" + ` for.

` + bundleHelp,
		Example: `  airgap inspect site.airgap --key site.pub
  airgap inspect site.airgap --key site.pub --sbom > site.spdx.json
  airgap inspect site.airgap -o json | jq '.manifest.images[].reference'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.inspect(cmd.Context(), args[0], &from, trust, statement, output)
		},
	}
	trust.add(cmd)
	statement.add(cmd)
	from.add(cmd)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// inspectReport is what inspect prints as JSON.
type inspectReport struct {
	Bundle   string           `json:"bundle"`
	Verified bool             `json:"verified"` // the signature over the manifest, by a key that was given
	Signers  []string         `json:"signers"`  // key IDs
	Bytes    int64            `json:"bytes"`
	Manifest *bundle.Manifest `json:"manifest"`
}

func (e *env) inspect(ctx context.Context, path string, from *mediaFlags, flags trustFlags, statement statementFlags, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	reader, err := e.openUnproven(ctx, path, from, &flags)
	if err != nil {
		return err
	}
	defer reader.Close()
	if statement.manifest {
		_, err := e.stdout.Write(reader.Head()[0].Data)
		return err
	}
	if statement.wanted() != "" {
		return e.printStatement(reader, statement)
	}
	report := inspectReport{
		Bundle: media.Name(path), Verified: len(reader.Signers()) > 0, Signers: reader.Signers(),
		Bytes: reader.Manifest().Size(), Manifest: reader.Manifest(),
	}
	if report.Signers == nil {
		report.Signers = []string{}
	}
	if output == outputJSON {
		return e.printJSON(report)
	}
	return e.printInspection(report)
}

// printInspection is the report for a person.
func (e *env) printInspection(report inspectReport) error {
	m, p := report.Manifest, &printer{w: e.stdout}
	if !report.Verified {
		p.line("UNVERIFIED: no --key was given, so nothing below is proven")
	}
	p.line("%s %s, issued %s, for %s", m.Name, m.Version, m.IssuedAt, strings.Join(m.Platforms, ", "))
	p.line("%s in %d entries", progress.Bytes(report.Bytes), len(m.Carried()))
	p.lines(deltaLine(m))
	if report.Verified {
		p.line("signed by key ID %s", strings.Join(report.Signers, ", "))
	}
	for _, a := range m.Attestations {
		p.line("attested: %s", a.PredicateType)
	}
	if m.VersionFloor != "" {
		p.line("no return below %s", m.VersionFloor)
	}
	if m.MinimumAirgap != "" {
		p.line("needs airgap %s", m.MinimumAirgap)
	}
	for _, d := range m.Distributions {
		p.line("distribution  %s: airgap %s, Kubernetes %s, %s", d.Platform, d.Version, d.Kubernetes, progress.Bytes(d.Size))
	}
	for _, image := range m.Images {
		p.line("image         %s  %s%s", image.Reference, image.Digest, systemMark(image))
	}
	for _, c := range m.Charts {
		p.line("chart         %s/%s: %s %s", c.Namespace, c.Release, c.Chart, c.Version)
	}
	for _, o := range m.Manifests {
		p.line("manifest      %s", o.Name)
	}
	for _, f := range m.Files {
		p.line("file          %s %s", f.Mode, f.Target)
	}
	return p.err
}

func systemMark(image bundle.Image) string {
	if image.System {
		return "  (system)"
	}
	return ""
}
