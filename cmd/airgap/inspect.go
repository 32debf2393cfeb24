package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
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
		Long: `Show what is in a bundle: who signed it, what it brings, and of each image its size, how much of that
other images have too, its layers and its digest. Only its head is read: this says what the maker signed, not that the rest of
the file is undamaged, which is what verify does. Without --key not even the signature
is checked, and the report says so. --sbom and --provenance print what the bundle was built with
` + "`airgap build --sbom --provenance`" + ` for.

` + bundleHelp,
		Example: `  airgap inspect site.airgap --key site.pub
  airgap inspect site.airgap --key site.pub --sbom > site.spdx.json
  airgap inspect site.airgap -o json | jq '.manifest.images[].reference'
  airgap inspect site.airgap -o json | jq '.imageSizes | max_by(.bytes)'`,
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

	Signatures int                `json:"signatures"` // how many there are, checked or not
	ImageSizes []bundle.ImageSize `json:"imageSizes"` // in the order of manifest.images
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
	sizes, err := reader.ImageSizes()
	if err != nil {
		return err
	}
	report := inspectReport{
		Bundle: media.Name(path), Verified: len(reader.Signers()) > 0, Signers: reader.Signers(),
		Bytes: reader.Manifest().Size(), Manifest: reader.Manifest(),
		ImageSizes: sizes,
	}
	for _, file := range reader.Head() {
		if strings.HasSuffix(file.Name, ".sigstore.json") { // each signer leaves one, and perhaps the signature by itself
			report.Signatures++
		}
	}
	if report.Signers == nil {
		report.Signers = []string{}
	}
	if output == outputJSON {
		return e.printJSON(report)
	}
	return e.printInspection(report)
}
