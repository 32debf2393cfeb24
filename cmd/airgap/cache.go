package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"airgap/internal/blobcache"
	"airgap/internal/progress"
)

var _ = register(newCacheCommand)

func newCacheCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look after what `airgap build --cache` keeps",
		Args:  noVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCachePruneCommand(e))
	return cmd
}

func newCachePruneCommand(e *env) *cobra.Command {
	var keep, output string
	var unused time.Duration
	cmd := &cobra.Command{
		Use:   "prune FOLDER",
		Short: "Remove what has not been used for the longest time",
		Long: `Remove blobs from the folder of ` + "`airgap build --cache`" + `, those that were not used for the longest time first,
until it is within the bounds that are given. What a build is fetching meanwhile stays.`,
		Example: `  airgap cache prune ~/.cache/airgap-blobs --keep 10g
  airgap cache prune ~/.cache/airgap-blobs --unused-for 720h
  airgap cache prune ~/.cache/airgap-blobs --keep 0`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return e.pruneCache(args[0], keep, unused, output) },
	}
	cmd.Flags().StringVar(&keep, "keep", "", "`size` that may stay, as in 10g or 10gi (1g is 10⁹ bytes, 1gi 2³⁰)")
	cmd.Flags().DurationVar(&unused, "unused-for", 0, "remove what was not used for this `time`, as in 720h")
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func (e *env) pruneCache(dir, keep string, unused time.Duration, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	bounds := blobcache.Bounds{Bytes: -1}
	switch {
	case keep == "" && unused <= 0:
		return &usageError{errors.New("--keep or --unused-for is missing: what may stay?")}
	case keep != "":
		var err error
		if bounds.Bytes, err = parseSize(keep); err != nil {
			return &usageError{fmt.Errorf("--keep %w", err)}
		}
	}
	if unused > 0 {
		bounds.UsedSince = e.now().Add(-unused)
	}
	if _, err := os.Stat(dir); err != nil {
		return &usageError{err}
	}
	cache, err := blobcache.Open(dir)
	if err != nil {
		return err
	}
	pruned, err := cache.Prune(bounds)
	if err != nil {
		return err
	}
	if output == outputJSON {
		return e.printJSON(pruned)
	}
	p := &printer{w: e.stdout}
	p.line("%d blobs removed, %s; %d left, %s", pruned.Removed, progress.Bytes(pruned.RemovedBytes), pruned.Left, progress.Bytes(pruned.LeftBytes))
	return p.err
}
