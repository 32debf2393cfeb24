package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/internal/progress"
)

var _ = register(newSplitCommand)

// splitOptions are the flags of split.
type splitOptions struct {
	from   mediaFlags
	bundle string
	size   string
	trust  trustFlags
	output string
}

func newSplitCommand(e *env) *cobra.Command {
	var o splitOptions
	cmd := &cobra.Command{
		Use:   "split BUNDLE",
		Short: "Cut a bundle into parts, for file systems and media that are too small for it",
		Long: `Cut a bundle into parts: site.airgap.001, site.airgap.002 and so on, each of the size given but the last. They are the
bundle's bytes, which cat joins; the verbs that take a bundle read them where they lie, on one medium or several. The bundle is
verified while it is cut.

` + bundleHelp,
		Example: `  airgap split site.airgap --key site.pub
  airgap split site.airgap -o /media/stick/site.airgap --size 700m
  airgap install /media/stick/site.airgap.001 --key site.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return e.split(cmd.Context(), args[0], &o) },
	}
	o.from.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.bundle, "bundle", "o", "", "`name` of the parts, without their numbers (default: the bundle's own)")
	flags.StringVar(&o.size, "size", "4g", "`size` of a part: 4g is just below what FAT32 takes")
	o.trust.add(cmd)
	addOutputFlag(cmd, &o.output, "")
	return cmd
}

// splitReport is what split prints as JSON.
type splitReport struct {
	Parts    []string `json:"parts"` // paths
	Bytes    int64    `json:"bytes"` // of all of them
	Verified bool     `json:"verified"`
	Signers  []string `json:"signers"` // key IDs
}

func (e *env) split(ctx context.Context, location string, o *splitOptions) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	size, err := partSize("--size", o.size)
	if err != nil {
		return err
	}
	if o.bundle == "" {
		if !media.IsPath(location) {
			return &usageError{errors.New("-o is missing: the name of the parts")}
		}
		o.bundle = strings.TrimRight(location, "/")
	}
	reader, err := e.openUnproven(ctx, location, &o.from, &o.trust)
	if err != nil {
		return err
	}
	defer reader.Close()
	bar := e.progress("split", o.output)
	defer bar.Stop()
	if err := bundle.Copy(ctx, reader, o.bundle, bundle.CopyOptions{PartBytes: size, Progress: bar.Set, Transfer: bar.Begin}); err != nil {
		return fmt.Errorf("%s: %w", media.Name(location), fileSizeHint(missingBundle(err, location)))
	}
	bar.Done()
	total := reader.TarBytes()
	report := splitReport{Bytes: total, Verified: len(reader.Signers()) > 0, Signers: append([]string{}, reader.Signers()...)}
	for n := range bundle.PartCount(total, size) {
		report.Parts = append(report.Parts, bundle.PartName(o.bundle, n+1))
	}
	if o.output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	p.unverified(report.Verified)
	p.line("%s: %d parts of up to %s, %s together", o.bundle, len(report.Parts), progress.Bytes(size), progress.Bytes(total))
	return p.err
}

// openUnproven opens a bundle to pass it on. Without keys its signature is not checked; its bytes are held against
// its manifest all the same, and whoever uses it checks both.
func (e *env) openUnproven(ctx context.Context, location string, from *mediaFlags, flags *trustFlags) (*bundle.Reader, error) {
	policy, err := flags.given()
	if err != nil {
		return nil, err
	}
	var trust bundle.Trust = bundle.AllowUnsigned{}
	if len(policy.Keys)+len(policy.Identities) > 0 {
		trust = policy
	}
	return e.openBundle(ctx, location, trust, from)
}

// unverified says that the signature of a bundle was not checked, if that is so.
func (p *printer) unverified(verified bool) {
	if !verified {
		p.line("UNVERIFIED: no --key was given, so nothing proves whose bundle it is")
	}
}
