package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"airgap/internal/crictl"
	"airgap/node/config"
)

var _ = register(newCrictlCommand)

// crictlName is the name under which the executable is crictl alone.
const crictlName = "crictl"

// isCrictl tells whether the executable was called by that name.
func isCrictl(argv []string) bool { return len(argv) > 0 && filepath.Base(argv[0]) == crictlName }

// criFlags are what all verbs of crictl have. The names are crictl's.
type criFlags struct {
	env      *env
	endpoint string
	timeout  time.Duration
}

// defaultCRITimeout is longer than crictl's two seconds: a machine that is looked into is often a busy one.
const defaultCRITimeout = 10 * time.Second

func newCrictlCommand(e *env) *cobra.Command {
	f := &criFlags{env: e}
	cmd := &cobra.Command{
		Use:   crictlName,
		Short: "Look into the container runtime (crictl's verbs, flags and columns)",
		Long: `crictl looks into the container runtime of this node, also when the API server does not
answer. Verbs, flags and columns are those of the tool of that name.`,
		Example: `  airgap crictl ps -a
  airgap crictl logs -f --tail 20 0a1b2c3d4e5f6
  airgap crictl exec -it 0a1b2c3d4e5f6 sh`,
		Args:                       noVerb,
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpoint := "unix://" + config.PathsOf(nodeDataDir()).ContainerdSocket()
	if given, ok := e.getenv("CONTAINER_RUNTIME_ENDPOINT"); ok && given != "" {
		endpoint = given
	}
	cmd.PersistentFlags().StringVarP(&f.endpoint, "runtime-endpoint", "r", endpoint, "`socket` of the runtime (CONTAINER_RUNTIME_ENDPOINT)")
	cmd.PersistentFlags().DurationVar(&f.timeout, "timeout", defaultCRITimeout, "longest wait for an answer of the runtime")
	for _, verbs := range [][]*cobra.Command{f.listVerbs(), f.inspectVerbs(), f.lifecycleVerbs(), f.streamVerbs(), f.statsVerbs()} {
		cmd.AddCommand(verbs...)
	}
	return cmd
}

// newCrictlRoot is crictl on its own, for an executable of that name. It completes itself, which cobra
// sees to.
func newCrictlRoot(e *env) *cobra.Command {
	cmd := newCrictlCommand(e)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetIn(e.stdin)
	cmd.SetOut(e.stdout)
	cmd.SetErr(e.stderr)
	markStart(e, cmd)
	return cmd
}

// run makes a verb's function out of what it does with a client.
func (f *criFlags) run(do func(ctx context.Context, c *crictl.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		// The client library logs each failure that it also returns.
		ctx := klog.NewContext(cmd.Context(), logr.Discard())
		c, err := crictl.Connect(ctx, f.endpoint, f.timeout, crictl.Streams{In: f.env.stdin, Out: f.env.stdout, Err: f.env.stderr})
		if err != nil {
			return err
		}
		return errors.Join(crictl.WithoutCode(do(ctx, c, args)), c.Close(ctx))
	}
}

// addView adds the flags of a list's form.
func addView(cmd *cobra.Command, v *crictl.View) {
	cmd.Flags().BoolVarP(&v.Quiet, "quiet", "q", false, "IDs alone")
	cmd.Flags().BoolVar(&v.NoTrunc, "no-trunc", false, "IDs in full")
	addCRIOutput(cmd, &v.Output, crictl.Table)
}

// addCRIOutput adds --output for a verb whose output is a table or, if the default is JSON, never one.
func addCRIOutput(cmd *cobra.Command, output *string, standard string) {
	formats := []string{crictl.JSON, crictl.YAML}
	if standard == crictl.Table {
		formats = append(formats, crictl.Table)
	}
	cmd.Flags().StringVarP(output, "output", "o", standard, "`format`: json, yaml or table")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(formats, *output) {
			return &usageError{fmt.Errorf("--output %q: want one of %v", *output, formats)}
		}
		if check != nil {
			return check(cmd, args)
		}
		return nil
	}
}

// complete offers the IDs of containers, pods or images, with their names beside them.
func (f *criFlags) complete(list func(context.Context, *crictl.Client) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) (ids []string, directive cobra.ShellCompDirective) {
		_ = f.run(func(ctx context.Context, c *crictl.Client, _ []string) error {
			var err error
			ids, err = list(ctx, c)
			return err
		})(cmd, nil) // a runtime that does not run completes nothing
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}

func (f *criFlags) containers() cobra.CompletionFunc {
	return f.complete(func(ctx context.Context, c *crictl.Client) (ids []string, err error) {
		list, err := c.Containers(ctx, crictl.Filter{})
		for _, k := range list {
			ids = append(ids, k.GetId()+"\t"+k.GetLabels()["io.kubernetes.pod.name"]+"/"+k.GetMetadata().GetName())
		}
		return ids, err
	})
}

func (f *criFlags) pods() cobra.CompletionFunc {
	return f.complete(func(ctx context.Context, c *crictl.Client) (ids []string, err error) {
		list, err := c.Pods(ctx, crictl.Filter{})
		for _, p := range list {
			ids = append(ids, p.GetId()+"\t"+p.GetMetadata().GetNamespace()+"/"+p.GetMetadata().GetName())
		}
		return ids, err
	})
}

func (f *criFlags) imageNames() cobra.CompletionFunc {
	return f.complete(func(ctx context.Context, c *crictl.Client) ([]string, error) { return c.ImageNames(ctx) })
}

// credentials reads --creds, "user" or "user:password", and --auth, which is its base64.
func credentials(creds, auth string) *runtime.AuthConfig {
	if creds == "" && auth == "" {
		return nil
	}
	user, password, _ := strings.Cut(creds, ":")
	return &runtime.AuthConfig{Username: user, Password: password, Auth: auth}
}
