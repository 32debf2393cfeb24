package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/internal/progress"
)

// env is what a verb gets from the process it runs in.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
	now            func() time.Time

	drawn   *progress.Progress // what stands on the terminal; may be nil
	started bool               // a verb itself runs: an error is no longer one of usage
}

// verbs makes the commands. Each file of a verb adds its own in an init function, so that a build tag can leave
// files out.
var verbs []func(*env) *cobra.Command

// register adds a verb.
func register(verb func(*env) *cobra.Command) bool {
	verbs = append(verbs, verb)
	return true
}

// dispatch runs a client that the executable carries, if that is what it was called by
// ("kubectl", or "airgap kubectl"). Such a client reads all its arguments itself. nil if there is none.
var dispatch func(ctx context.Context, argv []string) (done bool, err error)

// run is the whole program but os.Exit. argv[0] is the name it was called by.
func run(argv []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv, now: time.Now}
	err := e.run(ctx, argv)
	if err != nil {
		fmt.Fprint(e.stderr, message(err))
	}
	return exitCode(ctx, err)
}

func (e *env) run(ctx context.Context, argv []string) error {
	if dispatch != nil {
		if done, err := dispatch(ctx, argv); done {
			return err
		}
	}
	// What libraries put among the flags of the process, cobra adds to every command: none of it is airgap's.
	pflag.CommandLine.VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	root := newRoot(e)
	if isCrictl(argv) {
		root = newCrictlRoot(e)
	}
	root.SetArgs(argv[1:])
	err := root.ExecuteContext(ctx)
	if err != nil && !e.started {
		return &usageError{err}
	}
	return err
}

// newRoot makes the command with all its verbs.
func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "airgap",
		Short: "Kubernetes and your applications, carried to where there is no network",
		Long: `airgap carries Kubernetes and your applications to machines that have no network.

At a desk with a network, build gathers images, charts and the distribution into
one signed bundle. At the site, install verifies it and brings the cluster up.

` + exitCodes,
		Example: `  airgap keygen --output-key-prefix site
  airgap build -f airgap.yaml -o site.airgap --key site.key
  airgap verify site.airgap --key site.pub`,
		Args:                       noVerb,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	for _, verb := range verbs {
		root.AddCommand(verb(e))
	}
	markStart(e, root)
	return root
}

// noVerb is the error for what is no verb, with the one that was likely meant.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("no verb %q; did you mean %s?", args[0], strings.Join(near, ", "))
	}
	return fmt.Errorf("no verb %q; `%s --help` lists them", args[0], cmd.CommandPath())
}

// markStart makes every command note that its flags and arguments were in order.
func markStart(e *env, cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			e.started = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		markStart(e, sub)
	}
}
