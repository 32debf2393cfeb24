package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"airgap/internal/crictl"
)

func (f *criFlags) lifecycleVerbs() []*cobra.Command {
	var grace int64
	stop := &cobra.Command{
		Use: "stop CONTAINER...", Short: "Stop containers (the kubelet starts those of its pods again)", Args: cobra.MinimumNArgs(1), ValidArgsFunction: f.containers(),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			return c.StopContainers(ctx, args, grace)
		}),
	}
	stop.Flags().Int64VarP(&grace, "timeout", "t", 0, "`seconds` that a container gets to end")
	stopp := &cobra.Command{
		Use: "stopp POD...", Short: "Stop pods", Args: cobra.MinimumNArgs(1), ValidArgsFunction: f.pods(),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error { return c.StopPods(ctx, args) }),
	}
	return []*cobra.Command{
		stop, stopp, f.rmi(), f.pull(),
		f.remove("rm CONTAINER...", "Remove containers", f.containers(), (*crictl.Client).RemoveContainers),
		f.remove("rmp POD...", "Remove pods", f.pods(), (*crictl.Client).RemovePods),
	}
}

// remove makes rm or rmp.
func (f *criFlags) remove(use, short string, complete cobra.CompletionFunc,
	do func(c *crictl.Client, ctx context.Context, ids []string, all, force bool) error) *cobra.Command {
	var all, force bool
	cmd := &cobra.Command{
		Use: use, Short: short, ValidArgsFunction: complete, Args: allOrSome(&all),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error { return do(c, ctx, args, all, force) }),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all of them")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also those that run")
	return cmd
}

// allOrSome wants arguments unless the flag says all.
func allOrSome(all *bool) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if *all == (len(args) > 0) {
			return errors.New("name what to remove, or use --all")
		}
		return nil
	}
}

func (f *criFlags) rmi() *cobra.Command {
	var r crictl.Removal
	var everything bool
	cmd := &cobra.Command{
		Use: "rmi IMAGE...", Short: "Remove images", ValidArgsFunction: f.imageNames(), Args: allOrSome(&everything),
		Long: `rmi removes images. Those that a bundle brought are pinned and kept, for where there is no
network they cannot be pulled again; --force removes them all the same.`,
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			r.Images = args
			return c.RemoveImages(ctx, r)
		}),
	}
	cmd.Flags().BoolVarP(&r.All, "all", "a", false, "all images")
	cmd.Flags().BoolVarP(&r.Unused, "prune", "q", false, "all images that no container has")
	cmd.Flags().BoolVarP(&r.Pinned, "force", "f", false, "also images that a bundle brought")
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		everything = r.All || r.Unused
		return check(cmd, args)
	}
	return cmd
}

func (f *criFlags) pull() *cobra.Command {
	var creds, auth string
	cmd := &cobra.Command{
		Use: "pull IMAGE", Short: "Pull an image", Args: cobra.ExactArgs(1),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			return c.Pull(ctx, args[0], credentials(creds, auth))
		}),
	}
	cmd.Flags().StringVar(&creds, "creds", "", "`user:password` for the registry")
	cmd.Flags().StringVar(&auth, "auth", "", "the `base64` of user:password")
	return cmd
}
