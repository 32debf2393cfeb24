package main

import (
	"context"

	"github.com/spf13/cobra"

	"airgap/bundle/source"
)

var _ = register(newImagesCommand)

func newImagesCommand(e *env) *cobra.Command {
	var file, output string
	var why bool
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List every image that airgap.yaml, its charts and manifests need, and why",
		Long: `List every image that airgap.yaml, its charts and manifests need. Charts are rendered as an install would,
and once more for a cluster that has whatever they ask for; so are the charts in HelmCharts, with the values that
the node's Helm controller will give them. No image is fetched. What is guessed, from fields of custom resources
that look like images, says so; spec.ignoreImages leaves a wrong guess out.

With --why come also the images that are only hinted at: in arguments and variables of programs, which may start
them, in ConfigMaps, in a chart's tests and in values that it does not use now. They are not carried;
list in spec.images those that are needed.`,
		Example: `  airgap images -f airgap.yaml
  airgap images --why
  airgap images --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.images(cmd.Context(), file, why, output) },
	}
	cmd.Flags().StringVarP(&file, "file", "f", "airgap.yaml", "`file` that says what to gather")
	cmd.Flags().BoolVar(&why, "why", false, "say where each image is named")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func (e *env) images(ctx context.Context, file string, why bool, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	spec, err := loadSpec(file)
	if err != nil {
		return err
	}
	lock, err := source.ReadLock(spec.LockPath())
	if err != nil {
		return err
	}
	versions := stampedVersions()
	found, err := source.FindImages(ctx, spec, source.Options{
		Lock: lock, AirgapVersion: versions.Airgap, KubernetesVersion: versions.Kubernetes, Notice: e.notice,
	})
	if err != nil {
		return err
	}
	if output == outputJSON {
		return e.printJSON(found)
	}
	p := &printer{w: e.stdout}
	for _, image := range found {
		switch {
		case image.Carried:
			p.line("%s", image.Reference)
		case why:
			p.line("%s (not carried; if it is needed, list it in spec.images)", image.Reference)
		}
		if !why {
			continue
		}
		for _, mention := range image.Why {
			if mention.Guessed {
				p.line("  %s: guessed", mention.Where)
			} else {
				p.line("  %s", mention.Where)
			}
		}
	}
	return p.err
}
