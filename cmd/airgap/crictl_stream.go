package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"airgap/internal/crictl"
)

func (f *criFlags) streamVerbs() []*cobra.Command {
	return []*cobra.Command{f.exec(), f.attach(), f.logs(), f.portForward()}
}

func (f *criFlags) exec() *cobra.Command {
	var stdin, tty, sync bool
	var seconds int64
	cmd := &cobra.Command{
		Use: "exec CONTAINER COMMAND [ARGUMENT...]", Short: "Run a command in a container", Args: cobra.MinimumNArgs(2), ValidArgsFunction: f.containers(),
		Example: "  airgap crictl exec -it 0a1b2c3d4e5f6 sh\n  airgap crictl exec -s 0a1b2c3d4e5f6 cat /etc/hosts",
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			if sync {
				return c.ExecSync(ctx, args[0], args[1:], time.Duration(seconds)*time.Second)
			}
			return c.Exec(ctx, args[0], args[1:], stdin, tty)
		}),
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
	cmd.Flags().BoolVarP(&stdin, "interactive", "i", false, "connect standard input")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal")
	cmd.Flags().BoolVarP(&sync, "sync", "s", false, "wait for the command, then print what it has printed")
	cmd.Flags().Int64Var(&seconds, "timeout", 0, "with --sync, `seconds` after which it is killed (0: never)")
	return cmd
}

func (f *criFlags) attach() *cobra.Command {
	var stdin, tty bool
	cmd := &cobra.Command{
		Use: "attach CONTAINER", Short: "Connect to a container's first process", Args: cobra.ExactArgs(1), ValidArgsFunction: f.containers(),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			return c.Attach(ctx, args[0], stdin, tty)
		}),
	}
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "connect standard input")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "standard input is a terminal")
	return cmd
}

func (f *criFlags) logs() *cobra.Command {
	var o crictl.LogOptions
	cmd := &cobra.Command{
		Use: "logs CONTAINER", Short: "Print a container's log", Args: cobra.ExactArgs(1), ValidArgsFunction: f.containers(),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error { return c.Logs(ctx, args[0], o) }),
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as the log grows")
	cmd.Flags().BoolVarP(&o.Previous, "previous", "p", false, "the log of the container's last run before this one")
	cmd.Flags().Int64Var(&o.Tail, "tail", -1, "the last `lines` only")
	cmd.Flags().Int64Var(&o.LimitBytes, "limit-bytes", -1, "at most this many `bytes`")
	cmd.Flags().StringVar(&o.Since, "since", "", "what is newer than a `time` (RFC 3339) or a duration, such as 5m")
	cmd.Flags().BoolVarP(&o.Timestamps, "timestamps", "t", false, "show the time of each line")
	return cmd
}

func (f *criFlags) portForward() *cobra.Command {
	return &cobra.Command{
		Use: "port-forward POD [LOCAL:]REMOTE...", Short: "Listen on loopback for ports of a pod", Args: cobra.MinimumNArgs(2), ValidArgsFunction: f.pods(),
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			return c.PortForward(ctx, args[0], args[1:])
		}),
	}
}

func (f *criFlags) statsVerbs() []*cobra.Command {
	return []*cobra.Command{
		f.stats("stats", "Print what containers use", "CONTAINER", f.containers(), (*crictl.Client).PrintStats),
		f.stats("statsp", "Print what pods use", "POD", f.pods(), (*crictl.Client).PrintPodStats),
	}
}

// stats makes stats or statsp.
func (f *criFlags) stats(name, short, object string, complete cobra.CompletionFunc,
	print func(*crictl.Client, context.Context, crictl.StatsFilter, string) error) *cobra.Command {
	var filter crictl.StatsFilter
	var output string
	var seconds float64
	cmd := &cobra.Command{
		Use: name + " [" + object + "]", Short: short, Args: cobra.MaximumNArgs(1), ValidArgsFunction: complete,
		RunE: f.run(func(ctx context.Context, c *crictl.Client, args []string) error {
			if len(args) > 0 {
				filter.ID = args[0]
			}
			filter.Sample = time.Duration(seconds * float64(time.Second))
			return print(c, ctx, filter, output)
		}),
	}
	cmd.Flags().StringVar(&filter.ID, "id", "", "the one with this `ID`")
	cmd.Flags().StringToStringVar(&filter.Labels, "label", nil, "those with this label, `key=value` (repeatable)")
	cmd.Flags().Float64VarP(&seconds, "seconds", "s", 1, "how many `seconds` processor time is measured")
	if object == "CONTAINER" {
		cmd.Flags().StringVarP(&filter.Pod, "pod", "p", "", "those of the pod with this `ID`")
		cmd.Flags().BoolVarP(&filter.All, "all", "a", false, "also those that do not run")
	}
	addCRIOutput(cmd, &output, crictl.Table)
	return cmd
}
