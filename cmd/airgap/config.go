package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/internal/site"
	"airgap/node/config"
)

var _ = register(newConfigCommand)

func newConfigCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the node's configuration",
		Long: `The node's configuration is /etc/airgap/config.yaml (with another data folder, config.yaml there), and
what is in config.yaml.d/*.yaml beside it. Keys are the flags of ` + "`airgap server`" + ` or ` + "`airgap agent`" + `; a key that ends
in "+" adds to a list. The environment (AIRGAP_NODE_NAME for --node-name) beats the files, flags beat both. A change takes effect when the
service is started again.`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheckCommand(e), newConfigShowCommand(e))
	return cmd
}

// nodeConfig is a node's configuration as it is read for a person.
type nodeConfig struct {
	dataDir string
	file    string // empty: the node's own
	role    string // server or agent; empty: what the machine is
	output  string

	*settings
	server *config.Server // nil: an agent
}

func (n *nodeConfig) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&n.dataDir, "data-dir", "d", nodeDataDir(), "data `folder` of the node")
	cmd.Flags().StringVar(&n.role, "role", "", "whose settings they are: server or agent (default: what this machine is)")
}

// path is the configuration file.
func (n *nodeConfig) path() string { return configFile(n.file, n.dataDir) }

// read reads the configuration as the service would; the error is every mistake in it.
func (n *nodeConfig) read(e *env) error {
	paths := config.PathsOf(n.dataDir)
	if n.role == "" {
		n.role = "server"
		if fileExists(filepath.Join(paths.AgentPKI(), site.FileCluster)) && !fileExists(paths.Server()) {
			n.role = "agent"
		}
	}
	flags := pflag.NewFlagSet(n.role, pflag.ContinueOnError)
	var complete, readTokens func() error
	switch n.role {
	case "server":
		n.server = config.NewServer()
		n.server.DataDir = n.dataDir
		addServerFlags(flags, n.server)
		complete, readTokens = n.server.Complete, n.server.ReadTokens
	case "agent":
		agent, join := config.NewAgent(), &config.Join{}
		agent.DataDir = n.dataDir
		addAgentFlags(flags, agent)
		addJoinFlags(flags, join)
		complete, readTokens = agent.Complete, join.ReadToken
	default:
		return fmt.Errorf("--role %q: want server or agent", n.role)
	}
	n.settings = newSettings(flags)
	// The data folder is the service's to say: what is in the file for it is not looked at there either.
	err := n.addEnvironment(e.getenv, "data-dir")
	err = errors.Join(err, n.addFile(n.path(), n.file != ""))
	if err != nil {
		return err
	}
	if n.server != nil && n.from[flagEndpoint].kind == fromFile && hasPassword(n.server.DatastoreEndpoint) {
		err = checkPrivate(n.path())
	}
	return errors.Join(err, n.locate(complete()), n.locate(readTokens()))
}

func fileExists(path string) bool {
	_, err := filepath.EvalSymlinks(path)
	return err == nil
}

func newConfigCheckCommand(e *env) *cobra.Command {
	n := &nodeConfig{}
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Find the mistakes in a configuration, each with its line",
		Long: `Find the mistakes in FILE, or in the node's configuration: unknown keys, values that cannot be, and settings that
contradict each other. All of them are told, each with its file and line.

` + exitCodes,
		Example: `  airgap config check
  airgap config check /media/stick/config.yaml --role agent`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				n.file = args[0]
			}
			if err := n.read(e); err != nil {
				return &usageError{withHint(err, "correct them; `airgap %s --help` lists the settings", n.role)}
			}
			files, err := configFiles(n.path())
			if err != nil {
				return err
			}
			p := &printer{w: e.stdout}
			if n.file == "" && !fileExists(files[0]) {
				files[0] += " (which does not exist)"
			}
			for _, file := range files {
				p.line("%s: good", file)
			}
			return p.err
		},
	}
	n.add(cmd)
	return cmd
}

func newConfigShowCommand(e *env) *cobra.Command {
	n := &nodeConfig{}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show every setting of the node, and where its value comes from",
		Long: `Show every setting of the node, and where its value comes from: a default, a file and its line, or a variable of the
environment (this shell's, which the service need not have). Secrets are not shown. The YAML is a configuration file.`,
		Example: `  airgap config show
  airgap config show --output json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if n.output != outputYAML && n.output != outputJSON {
				return &usageError{fmt.Errorf("--output %q: want yaml or json", n.output)}
			}
			err := n.read(e)
			if errors.Is(err, fs.ErrPermission) {
				return withHint(err, "run it with sudo")
			}
			if err != nil {
				return &usageError{withHint(err, "correct it, see `airgap config check`")}
			}
			if n.output == outputJSON {
				return e.printJSON(n.document())
			}
			return n.print(e.stdout)
		},
	}
	n.add(cmd)
	cmd.Flags().StringVar(&n.output, "output", outputYAML, "`format`: yaml or json")
	return cmd
}
