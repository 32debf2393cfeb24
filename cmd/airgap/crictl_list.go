package main

import (
	"context"

	"github.com/spf13/cobra"

	"airgap/internal/crictl"
)

func (f *criFlags) listVerbs() []*cobra.Command {
	return []*cobra.Command{f.ps(), f.podsVerb(), f.imagesVerb()}
}

// addFilter adds the flags that ps and pods share.
func addFilter(cmd *cobra.Command, filter *crictl.Filter, latest *bool) {
	cmd.Flags().StringVar(&filter.ID, "id", "", "the one with this `ID`, or the beginning of one")
	cmd.Flags().StringVar(&filter.Name, "name", "", "those whose name matches a `pattern`")
	cmd.Flags().StringVar(&filter.Namespace, "namespace", "", "those whose namespace matches a `pattern`")
	cmd.Flags().StringToStringVar(&filter.Labels, "label", nil, "those with this label, `key=value` (repeatable)")
	cmd.Flags().IntVarP(&filter.Last, "last", "n", 0, "the newest `number` of them, whatever their state")
	cmd.Flags().BoolVarP(latest, "latest", "l", false, "the newest one, whatever its state")
}

func (f *criFlags) ps() *cobra.Command {
	var filter crictl.Filter
	var view crictl.View
	var all, latest bool
	cmd := &cobra.Command{
		Use: "ps", Short: "List containers", Args: cobra.NoArgs,
		Example: "  airgap crictl ps --name 'coredns'\n  airgap crictl ps -a --state exited -o json",
		RunE: f.run(func(ctx context.Context, c *crictl.Client, _ []string) error {
			if latest {
				filter.Last = 1
			}
			if filter.State == "" && !all && filter.Last == 0 && filter.ID == "" {
				filter.State = "running"
			}
			return c.PrintContainers(ctx, filter, view)
		}),
	}
	addFilter(cmd, &filter, &latest)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also those that do not run")
	cmd.Flags().StringVarP(&filter.State, "state", "s", "", "those in this `state`: created, running, exited or unknown")
	cmd.Flags().StringVarP(&filter.Pod, "pod", "p", "", "those of the pod with this `ID`")
	cmd.Flags().StringVar(&filter.Image, "image", "", "those of this `image`")
	addView(cmd, &view)
	return cmd
}

func (f *criFlags) podsVerb() *cobra.Command {
	var filter crictl.Filter
	var view crictl.View
	var latest bool
	cmd := &cobra.Command{
		Use: "pods", Short: "List pods", Args: cobra.NoArgs,
		Example: "  airgap crictl pods --namespace kube-system\n  airgap crictl pods --state notready -q",
		RunE: f.run(func(ctx context.Context, c *crictl.Client, _ []string) error {
			if latest {
				filter.Last = 1
			}
			return c.PrintPods(ctx, filter, view)
		}),
	}
	addFilter(cmd, &filter, &latest)
	cmd.Flags().StringVarP(&filter.State, "state", "s", "", "those in this `state`: ready or notready")
	addView(cmd, &view)
	return cmd
}

func (f *criFlags) imagesVerb() *cobra.Command {
	var view crictl.ImageView
	cmd := &cobra.Command{
		Use: "images [IMAGE]", Aliases: []string{"image", "img"}, Short: "List images", Args: cobra.MaximumNArgs(1),
		Example:           "  airgap crictl images --pinned\n  airgap crictl images --digests docker.io/library/nginx:1.29",
		ValidArgsFunction: f.imageNames(),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			var name string
			if len(args) > 0 {
				name = args[0]
			}
			return c.PrintImages(ctx, name, view)
		}),
	}
	cmd.Flags().BoolVar(&view.Digests, "digests", false, "show digests")
	cmd.Flags().BoolVar(&view.Pinned, "pinned", false, "show which are kept for ever: those that a bundle brought")
	addView(cmd, &view.View)
	return cmd
}
