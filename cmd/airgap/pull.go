package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/internal/blobcache"
	"airgap/internal/progress"
)

var _ = register(newPullCommand)

// pullOptions are the flags of pull.
type pullOptions struct {
	from   mediaFlags
	trust  trustFlags
	bundle string
	split  string
	cache  string
	output string
}

func newPullCommand(e *env) *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull BUNDLE",
		Short: "Copy a bundle from a registry, or from wherever it is, into a file",
		Long: `Copy a bundle from an OCI registry, or from wherever else it is, into a file, into parts, or into a folder: the bytes are
those that were pushed, or built. They are checked on the way; with --key, the signature too. The file appears when it is whole.

A connection that breaks is taken up again at its byte. With --cache a pull that was killed goes on too, and what several
bundles share is fetched once.

` + bundleHelp,
		Example: `  airgap pull oci://registry.example/bundles/site-a:1.4.0 --key site.pub
  airgap pull oci://registry.example/bundles/site-a:1.4.0 -o /media/stick/site.airgap --split 4g
  airgap pull https://desk.example/site.airgap -o site/ --key site.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return e.pull(cmd.Context(), args[0], &o) },
	}
	o.from.add(cmd)
	o.trust.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.bundle, "bundle", "o", "", "`file` to write; a name that ends in / is written as a folder (default: NAME-VERSION.airgap)")
	addSplitFlag(cmd, &o.split)
	flags.StringVar(&o.cache, "cache", "", "`folder` that keeps what comes from registries, as of build")
	addOutputFlag(cmd, &o.output, "")
	return cmd
}

// pullReport is what pull prints as JSON.
type pullReport struct {
	Bundle   string   `json:"bundle"` // where it is now
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Bytes    int64    `json:"bytes"`
	Verified bool     `json:"verified"`
	Signers  []string `json:"signers"` // key IDs
}

func (e *env) pull(ctx context.Context, location string, o *pullOptions) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	partBytes, err := splitSize(o.split, o.bundle)
	if err != nil {
		return err
	}
	if o.cache != "" {
		if o.from.cache, err = blobcache.Open(o.cache); err != nil {
			return err
		}
	}
	reader, err := e.openUnproven(ctx, location, &o.from, &o.trust)
	if err != nil {
		return err
	}
	defer reader.Close()
	m := reader.Manifest()
	if o.bundle == "" {
		o.bundle = fmt.Sprintf("%s-%s.airgap", m.Name, m.Version)
	}
	if o.bundle == location {
		return &usageError{errors.New("it would be copied onto itself")}
	}
	bar := e.progress("pull", o.output)
	defer bar.Stop()
	if err := bundle.Copy(ctx, reader, o.bundle, bundle.CopyOptions{PartBytes: partBytes, Progress: bar.Set, Transfer: bar.Begin}); err != nil {
		return fmt.Errorf("%s: %w", media.Name(location), fileSizeHint(missingBundle(err, location)))
	}
	bar.Done()
	report := pullReport{
		Bundle: o.bundle, Name: m.Name, Version: m.Version, Bytes: reader.TarBytes(),
		Verified: len(reader.Signers()) > 0, Signers: append([]string{}, reader.Signers()...),
	}
	if o.output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	p.unverified(report.Verified)
	p.line("%s: %s %s, %s", report.Bundle, report.Name, report.Version, progress.Bytes(report.Bytes))
	return p.err
}
