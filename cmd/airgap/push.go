package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/bundle/media"
	"airgap/internal/progress"
)

var _ = register(newPushCommand)

func newPushCommand(e *env) *cobra.Command {
	var from mediaFlags
	var trust trustFlags
	var output string
	cmd := &cobra.Command{
		Use:   "push BUNDLE oci://HOST/REPOSITORY[:TAG]",
		Short: "Put a bundle into an OCI registry",
		Long: `Put a bundle into an OCI registry, as one artifact that pull, verify and install take from there, and that oras pull
makes the bundle's folder of. Without TAG it is the bundle's version.

What the repository has already is not sent, nor what the bundle's images have under their own names in that registry: it is
mounted. A push that broke off goes on when it is run again. The bundle is read once and checked on the way; with --key, its
signature too. Credentials are those of ` + "`docker login`" + `. For images, see ` + "`airgap registry push`" + `.

` + bundleHelp,
		Example: `  airgap push site.airgap oci://registry.example/bundles/site-a --key site.pub
  airgap install oci://registry.example/bundles/site-a:1.4.0 --key site.pub`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.push(cmd.Context(), args[0], args[1], &from, &trust, output)
		},
	}
	from.add(cmd)
	trust.add(cmd)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// pushReport is what push prints as JSON.
type pushReport struct {
	Reference string   `json:"reference"` // with the digest
	Bytes     int64    `json:"bytes"`     // of the bundle
	Sent      int64    `json:"sent"`      // bytes of it that the registry did not have
	Verified  bool     `json:"verified"`
	Signers   []string `json:"signers"` // key IDs
}

func (e *env) push(ctx context.Context, location, to string, from *mediaFlags, trust *trustFlags, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	reader, err := e.openUnproven(ctx, location, from, trust)
	if err != nil {
		return err
	}
	defer reader.Close()
	bar := e.progress("push", output)
	defer bar.Stop()
	pushed, err := media.Push(ctx, reader, to, media.PushOptions{Progress: bar.Set, Transfer: bar.Begin})
	if err != nil {
		return fmt.Errorf("%s: %w", media.Name(location), missingBundle(err, location))
	}
	bar.Done()
	report := pushReport{
		Reference: pushed.Reference, Bytes: reader.Manifest().Size(), Sent: pushed.Sent,
		Verified: len(reader.Signers()) > 0, Signers: append([]string{}, reader.Signers()...),
	}
	if output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	p.unverified(report.Verified)
	p.line("%s: %s, %s of it sent", report.Reference, progress.Bytes(report.Bytes), progress.Bytes(report.Sent))
	return p.err
}
