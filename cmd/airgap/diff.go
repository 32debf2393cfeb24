package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/internal/progress"
)

var _ = register(newDiffCommand)

// errDiffer is the end of `airgap diff --exit-code` for two bundles that are not the same.
var errDiffer = errors.New("the bundles differ")

func newDiffCommand(e *env) *cobra.Command {
	var output string
	var exitCode bool
	var from mediaFlags
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Explain how two bundles differ, down to the blobs",
		Long: `Explain how two bundles differ: images, charts, manifests and files that came, went or changed, for images
which layers and what in their config, and the blobs that only one of them has. Only the metadata of both is
read; no signature is checked, which is what verify does. OLD and NEW are each a BUNDLE, one of them at most standard input.

` + bundleHelp,
		Example: `  airgap diff site-1.4.airgap site-1.5.airgap
  ssh site cat site.airgap | airgap diff - oci://registry.example/bundles/site-a:1.5.0
  airgap diff mine.airgap theirs.airgap --exit-code && echo the same
  airgap diff site-1.4.airgap site-1.5.airgap -o json | jq '.added[].size' | paste -sd+ | bc`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.diff(cmd.Context(), [2]string{args[0], args[1]}, &from, exitCode, output)
		},
	}
	from.add(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with 1 if they differ")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func (e *env) diff(ctx context.Context, locations [2]string, from *mediaFlags, exitCode bool, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	if locations == [2]string{media.Stdin, media.Stdin} {
		return &usageError{errors.New("standard input has one bundle, not both")}
	}
	var both [2]bundle.Described
	for i, location := range locations {
		var err error
		if both[i], err = e.describe(ctx, location, from); err != nil {
			return err
		}
	}
	comparison := bundle.Compare(both[0], both[1])
	if err := e.printComparison(comparison, output); err != nil {
		return err
	}
	if exitCode && !comparison.Same {
		return errDiffer
	}
	return nil
}

// describe reads what is compared of the bundle at location.
func (e *env) describe(ctx context.Context, location string, from *mediaFlags) (bundle.Described, error) {
	reader, err := e.openBundle(ctx, location, bundle.AllowUnsigned{}, from)
	if err != nil {
		return bundle.Described{}, err
	}
	defer reader.Close()
	described, err := bundle.Describe(reader)
	if err != nil {
		return bundle.Described{}, fmt.Errorf("%s: %w", media.Name(location), err)
	}
	return described, nil
}

func (e *env) printComparison(c bundle.Comparison, output string) error {
	if output == outputJSON {
		return e.printJSON(c)
	}
	p := &printer{w: e.stdout}
	if c.Same {
		p.line("the same: every byte but those of the signatures, which are not compared")
		return p.err
	}
	for _, d := range c.Differences {
		switch {
		case d.From == "":
			p.line("+ %s: %s", d.What, d.To)
		case d.To == "":
			p.line("- %s: %s", d.What, d.From)
		default:
			p.line("~ %s: %s → %s", d.What, d.From, d.To)
		}
		for _, why := range d.Why {
			p.line("    %s", why)
		}
	}
	for _, list := range []struct {
		mark    string
		entries []bundle.Entry
	}{{"-", c.Removed}, {"+", c.Added}} {
		for _, entry := range list.entries {
			p.line("%s %s %s, %s", list.mark, entry.Role, entry.Path, progress.Bytes(entry.Size))
		}
	}
	p.line("%d blobs removed, %s; %d added, %s; %d shared, %s", len(c.Removed), progress.Bytes(bundle.SizeOf(c.Removed)),
		len(c.Added), progress.Bytes(bundle.SizeOf(c.Added)), c.Shared, progress.Bytes(c.SharedBytes))
	return p.err
}
