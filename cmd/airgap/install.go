package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/containerd/log"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/installer"
	"airgap/internal/atrest"
	"airgap/node/config"
	"airgap/signing"
)

// installMemoryBytes makes the garbage collector work harder before an install takes more: it must
// fit beside a node on a small machine.
const installMemoryBytes = 96 << 20

// beSmall keeps the memory of an install low. Most of what the process has at its start (127 to 171 MB, as the page
// cache has it) are pages of the executable, which holds a whole node; the few that an install uses come back
// by themselves. What it had at its start remains its peak.
func beSmall() {
	debug.SetMemoryLimit(installMemoryBytes)
	_, _ = atrest.UnmapUnused() // without it all works as well
}

var _ = register(newInstallCommand)

// installFlags are the flags that install and check share.
type installFlags struct {
	server *config.Server
	join   string         // URL of a server
	node   *pflag.FlagSet // the flags of `airgap server` and --server, which go to the node's configuration file
	config string
	trust  trustFlags
	getenv func(string) (string, bool)
	from   mediaFlags
	init   string
	role   string
	output string

	needsBundle bool // or a server

	allowUnsigned, allowDowngrade bool
	timeout, probation            time.Duration
	dryRun, wait                  bool
}

// addNode binds the flags that say which node it is.
func (f *installFlags) addNode(cmd *cobra.Command) {
	f.server = config.NewServer()
	f.node = pflag.NewFlagSet("node", pflag.ContinueOnError)
	addServerFlags(f.node, f.server)
	f.node.StringVarP(&f.join, flagServer, "s", "", "`URL` of a server, https://address:6443, or discover, whose cluster the machine joins as an agent; --token is what it joins with")
	cmd.Flags().AddFlagSet(f.node)
}

// add binds the shared flags.
func (f *installFlags) add(cmd *cobra.Command) {
	f.addNode(cmd)
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "YAML `file` with node flags, merged into the node's configuration")
	cmd.Flags().StringArrayVar(&f.trust.keys, "key", nil, "public key `file` whose signature is accepted (repeatable); a first install makes these the machine's trust")
	cmd.Flags().IntVar(&f.trust.threshold, "threshold", 0, "how `many` different keys must have signed; a first install makes this the machine's trust (default: one, or what the machine's trust says)")
	f.trust.addKeyless(cmd)
	cmd.Flags().StringVar(&f.role, "role", "", "what the machine becomes: server or agent (default: agent with --server)")
	cmd.Flags().StringVar(&f.init, "init", "", "what runs the node: systemd, openrc or none (default: what the host has)")
	cmd.Flags().BoolVar(&f.allowUnsigned, "allow-unsigned", false, "accept a bundle that nobody has signed; the report records it")
	cmd.Flags().BoolVar(&f.allowDowngrade, "allow-downgrade", false, "accept an older version of the bundle than this machine has had")
	f.from.add(cmd)
	addOutputFlag(cmd, &f.output, "")
}

func newInstallCommand(e *env) *cobra.Command {
	f := &installFlags{getenv: e.getenv, needsBundle: true}
	cmd := &cobra.Command{
		Use:   "install [BUNDLE]",
		Short: "Turn this machine into a node, or bring a node a further bundle",
		Long: `Turn this machine into a node with the bundle's images, charts and manifests, or bring a
node a further bundle or a newer version of one, as upgrade does. The bundle is verified while it is read, once. An
install that was interrupted continues when it is run again; a first one that fails leaves nothing.

With --server the machine becomes an agent of a cluster that runs. Without BUNDLE it reads the cluster's bundles from
the nodes that have them, and verifies them itself: they are asked, not trusted. With BUNDLE only the join goes over
the network. The token is not written down.

The first install sets which keys the machine trusts, and whose keyless signatures (--trusted-root,
--certificate-identity, --certificate-oidc-issuer): later ones need say neither. The flags of ` + "`airgap server`" + ` are
written to the node's configuration file.

` + bundleHelp,
		Example: `  airgap install /media/stick/site.airgap --key site.pub
  airgap install site.airgap --key site.pub --data-dir /srv/airgap --node-ip 10.0.0.5
  airgap install site.airgap --key site.pub --dry-run
  airgap install site-1.5.airgap
  ssh desk cat site.airgap | airgap install - --key site.pub
  AIRGAP_TOKEN=K10… airgap install --server https://10.0.0.1:6443 --key site.pub`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.install(cmd.Context(), strings.Join(args, ""), f)
		},
	}
	f.addInstall(cmd)
	return cmd
}

// addInstall binds the flags of install and upgrade.
func (f *installFlags) addInstall(cmd *cobra.Command) {
	f.add(cmd)
	cmd.Flags().DurationVar(&f.timeout, "timeout", installer.DefaultTimeout, "how long to wait for the node, and again for the releases")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait for another install on this machine to end, instead of failing")
	cmd.Flags().DurationVar(&f.probation, "probation", installer.DefaultProbation, "how long a new version that takes the place of another must go on before it stays")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "verify the signature, print the steps and stop")
}

func (e *env) install(ctx context.Context, bundle string, f *installFlags) error {
	opts, err := f.options(ctx, bundle)
	if err != nil {
		return err
	}
	if opts.Media, err = f.from.options(e, bundle); err != nil {
		return err
	}
	if f.dryRun {
		return e.planInstall(ctx, opts, f.output)
	}
	beSmall()
	_ = log.SetLevel("error") // containerd's code warns of what does not matter here
	opts.Out, opts.Terminal = e.steps(f.output)
	began := e.now()
	if opts.Join != nil {
		return e.installJoining(ctx, opts, f.output, began)
	}
	report, err := installer.Run(ctx, opts)
	if err != nil {
		return installError(err)
	}
	if f.output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	p.line("%s %s is installed (%.1f s)", report.Bundle, report.Version, e.now().Sub(began).Seconds())
	return p.err
}

// planInstall prints what an install would do.
func (e *env) planInstall(ctx context.Context, opts installer.Options, output string) error {
	steps, err := installer.Plan(ctx, opts)
	if err != nil {
		return installError(err)
	}
	if output == outputJSON {
		return e.printJSON(steps)
	}
	p := &printer{w: e.stdout}
	for i, step := range steps {
		p.line("%2d. %-14s %s", i+1, step.Name, step.About)
	}
	return p.err
}

// options turns the flags into what the installer is told.
func (f *installFlags) options(ctx context.Context, bundle string) (installer.Options, error) {
	if err := checkOutput(f.output); err != nil {
		return installer.Options{}, err
	}
	join, err := f.joining(bundle)
	if err != nil {
		return installer.Options{}, &usageError{err}
	}
	if join != nil && join.Server == discoverServer {
		if join.Server, err = findServer(ctx, join.Token, findPatience); err != nil {
			return installer.Options{}, err
		}
		f.join = join.Server // what the node's configuration gets
	}
	values, err := f.configuration()
	if err != nil {
		return installer.Options{}, &usageError{err}
	}
	policy, err := f.trust.given()
	if err != nil {
		return installer.Options{}, err
	}
	guard, err := guardOf(os.Stderr)
	if err != nil {
		return installer.Options{}, err
	}
	return installer.Options{
		Bundle:         bundle,
		Join:           join,
		Keys:           policy.Keys,
		Identities:     policy.Identities,
		Threshold:      f.trust.threshold,
		AllowUnsigned:  f.allowUnsigned,
		AllowDowngrade: f.allowDowngrade,
		Server:         f.server,
		Config:         values,
		Init:           installer.Init(f.init),
		Timeout:        f.timeout,
		Wait:           f.wait,
		Tools:          toolsFolder(),
		Probation:      f.probation,
		Guard:          guard,
		Version:        strings.TrimSuffix(stampedVersions().Airgap, unstamped),
	}, nil
}

// configuration makes server what the node will be (its configuration file, --config, the environment, the flags, the
// later winning) and returns what of it is to be written to that file.
func (f *installFlags) configuration() (map[string]any, error) {
	if err := checkCommandLine(f.node); err != nil {
		return nil, err
	}
	// What to join and by what is asked for elsewhere, and the token is written nowhere.
	skip := []string{flagServer, "token", "token-file", "agent-token", "agent-token-file"}
	if err := newSettings(f.node).addEnvironment(f.getenv, skip...); err != nil {
		return nil, err
	}
	given := givenFlags(f.node)
	err := applyConfigFile(f.node, config.PathsOf(f.server.DataDir).ConfigFile(), false)
	if err != nil && !errors.Is(err, fs.ErrPermission) { // not root: the preflight says so
		return nil, err
	}
	f.node.VisitAll(func(flag *pflag.Flag) { flag.Changed = given[flag.Name] })
	if f.config != "" {
		if err := applyConfigFile(f.node, f.config, true); err != nil {
			return nil, err
		}
	}
	joins := f.join != "" && given[flagServer]
	if joins {
		if err := f.checkAgentFlags(); err != nil {
			return nil, err
		}
	}
	return changedFlags(f.node, func(name string) bool { return name != "data-dir" && !(joins && isTokenFlag(name)) }), nil
}

// givenFlags names the flags that have been given.
func givenFlags(flags *pflag.FlagSet) map[string]bool {
	given := map[string]bool{}
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed {
			given[flag.Name] = true
		}
	})
	return given
}

// steps is where an install tells its steps: stdout, unless that carries JSON.
func (e *env) steps(output string) (out io.Writer, terminal bool) {
	switch {
	case output != outputJSON:
		return e.stdout, isTerminal(e.stdout)
	case isTerminal(e.stderr):
		return e.stderr, true
	default:
		return io.Discard, false
	}
}

// installError gives the installer's errors their place among the exit codes, and its hints.
func installError(err error) error {
	var preflight *installer.PreflightError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &preflight), errors.Is(err, installer.ErrBusy):
		return &preflightError{err}
	case errors.Is(err, installer.ErrUsage):
		return &usageError{err}
	}
	return err
}

func init() {
	refusals = append(refusals, installer.ErrRefused, signing.ErrTrustSet)
}
