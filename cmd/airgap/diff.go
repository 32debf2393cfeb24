package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/internal/progress"
)

var _ = register(newDiffCommand)

// errDiffer is the end of `airgap diff --exit-code` for two bundles that are not the same.
var errDiffer = errors.New("the bundles differ")

func newDiffCommand(e *env) *cobra.Command {
	var output string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Explain how two bundles differ, down to the blobs",
		Long: `Explain how two bundles differ: images, charts, manifests and files that came, went or changed, for images
which layers and what in their config, and the blobs that only one of them has. Only the metadata of both is
read; no signature is checked, which is what verify does.`,
		Example: `  airgap diff site-1.4.airgap site-1.5.airgap
  airgap diff mine.airgap theirs.airgap --exit-code && echo the same
  airgap diff site-1.4.airgap site-1.5.airgap -o json | jq '.added[].size' | paste -sd+ | bc`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.diff(cmd.Context(), args[0], args[1], exitCode, output)
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with 1 if they differ")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func (e *env) diff(ctx context.Context, oldPath, newPath string, exitCode bool, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	var both [2]bundle.Described
	for i, path := range []string{oldPath, newPath} {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if both[i], err = describe(path); err != nil {
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

// describe reads what is compared of the bundle at path.
func describe(path string) (bundle.Described, error) {
	reader, err := bundle.Open(path, bundle.AllowUnsigned{})
	if err != nil {
		return bundle.Described{}, missingBundle(err, path)
	}
	defer reader.Close()
	described, err := bundle.Describe(reader)
	if err != nil {
		return bundle.Described{}, fmt.Errorf("%s: %w", path, err)
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
