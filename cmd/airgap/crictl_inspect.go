package main

import (
	"context"

	"github.com/spf13/cobra"

	"airgap/internal/crictl"
)

func (f *criFlags) inspectVerbs() []*cobra.Command {
	list := []*cobra.Command{
		f.inspect("inspect CONTAINER...", "Print what the runtime knows of containers", f.containers(), (*crictl.Client).InspectContainers),
		f.inspect("inspectp POD...", "Print what the runtime knows of pods", f.pods(), (*crictl.Client).InspectPods),
		f.inspect("inspecti IMAGE...", "Print what the runtime knows of images", f.imageNames(), (*crictl.Client).InspectImages),
	}
	var view crictl.View
	info := &cobra.Command{
		Use: "info", Short: "Print the runtime's state and configuration", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, c *crictl.Client, _ []string) error { return c.PrintInfo(ctx, view) }),
	}
	info.Flags().BoolVarP(&view.Quiet, "quiet", "q", false, "the state alone")
	addCRIOutput(info, &view.Output, crictl.JSON)

	var filesystem, events string
	imagefs := &cobra.Command{
		Use: "imagefsinfo", Short: "Print the use of the images' file system", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, c *crictl.Client, _ []string) error {
			return c.PrintImageFilesystem(ctx, filesystem)
		}),
	}
	addCRIOutput(imagefs, &filesystem, crictl.JSON)
	event := &cobra.Command{
		Use: "events", Aliases: []string{"event"}, Short: "Print what happens to containers, until interrupted", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, c *crictl.Client, _ []string) error { return c.PrintEvents(ctx, events) }),
	}
	addCRIOutput(event, &events, crictl.JSON)
	version := &cobra.Command{
		Use: "version", Short: "Print the runtime's versions", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, c *crictl.Client, _ []string) error { return c.PrintVersion(ctx) }),
	}
	return append(list, info, imagefs, event, version)
}

// inspect makes one of the verbs that print objects.
func (f *criFlags) inspect(use, short string, complete cobra.CompletionFunc,
	print func(*crictl.Client, context.Context, []string, crictl.View) error) *cobra.Command {
	var view crictl.View
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: complete,
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error { return print(c, ctx, args, view) }),
	}
	cmd.Flags().BoolVarP(&view.Quiet, "quiet", "q", false, "the status alone")
	addCRIOutput(cmd, &view.Output, crictl.JSON)
	return cmd
}
