//go:build !desk

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/internal/progress"
	"airgap/node"
	"airgap/node/config"
	"airgap/node/datastore"
)

var _ = register(newDatastoreCommand)

func newDatastoreCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "datastore",
		Short: "Examine the cluster's datastore, or move it to another",
		Args:  noVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDatastoreStatusCommand(e), newDatastoreMigrateCommand(e))
	return cmd
}

// datastoreNode is the node whose configuration says which datastore is meant.
type datastoreNode struct {
	dataDir, configFile, output string
}

func (n *datastoreNode) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&n.dataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of everything the node keeps")
	cmd.Flags().StringVarP(&n.configFile, "config", "c", "", "the node's configuration `file` (default: "+config.DefaultConfigFile+")")
	addOutputFlag(cmd, &n.output, "")
}

// current reads the node's configuration and returns its datastore.
func (n *datastoreNode) current(e *env) (config.Datastore, error) {
	cfg := config.NewServer()
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	addServerFlags(flags, cfg)
	if _, err := e.readServerConfig(flags, cfg, configFile(n.configFile, n.dataDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return config.Datastore{}, &usageError{err}
	}
	store, err := cfg.Datastore()
	if err != nil {
		return config.Datastore{}, &usageError{err}
	}
	return store, nil
}

func newDatastoreStatusCommand(e *env) *cobra.Command {
	n := &datastoreNode{}
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the datastore's kind, size, keys and revision",
		Example: "  airgap datastore status\n  airgap datastore status --output json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return e.datastoreStatus(cmd.Context(), n) },
	}
	n.add(cmd)
	return cmd
}

func (e *env) datastoreStatus(ctx context.Context, n *datastoreNode) error {
	if err := checkOutput(n.output); err != nil {
		return err
	}
	store, err := n.current(e)
	if err != nil {
		return err
	}
	s, err := datastore.ReadStatus(ctx, store, config.PathsOf(n.dataDir).DB())
	if err != nil {
		return fmt.Errorf("%s: %w", store, err)
	}
	if n.output == outputJSON {
		return e.printJSON(s)
	}
	p := &printer{w: e.stdout}
	p.line("datastore  %s", s.Datastore)
	p.line("size       %s", progress.Bytes(s.Bytes))
	if s.LogBytes > 0 {
		p.line("log        %s", progress.Bytes(s.LogBytes))
	}
	p.line("keys       %d", s.Keys)
	if s.Rows > 0 {
		p.line("rows       %d", s.Rows)
	}
	p.line("revision   %d", s.Revision)
	if s.Compacted > 0 {
		p.line("compacted  %d", s.Compacted)
	}
	return p.err
}

// migrateFlags are those of `airgap datastore migrate`.
type migrateFlags struct {
	datastoreNode
	from, to           string
	fromFiles, toFiles config.DatastoreFiles
	overwrite, change  bool
}

func newDatastoreMigrateCommand(e *env) *cobra.Command {
	f := &migrateFlags{}
	cmd := &cobra.Command{
		Use:   "migrate --to ENDPOINT",
		Short: "Copy all that Kubernetes keeps from one datastore to another",
		Long: `Copy all that Kubernetes keeps from one datastore to another: SQLite ("sqlite"), PostgreSQL,
MySQL or MariaDB, and etcd, in any direction. The node must be stopped. Values stay as they are,
encrypted ones too; the copy is compared with what was read before it counts.

An endpoint with a password is not given on the command line, where every user can read it: give
"-" and the endpoint on standard input, or the environment variable AIRGAP_DATASTORE_TO (or _FROM).

` + exitCodes,
		Example: `  systemctl stop airgap
  airgap datastore migrate --to - --to-cafile /etc/airgap/db-ca.crt --switch <endpoint.txt
  airgap datastore migrate --from https://etcd-1:2379 --to sqlite --overwrite`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.datastoreMigrate(cmd.Context(), f) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "`endpoint` to copy to, as --datastore-endpoint; \"-\": read it from standard input")
	flags.StringVar(&f.from, "from", "", "`endpoint` to copy from (default: the node's)")
	for _, side := range []struct {
		name  string
		files *config.DatastoreFiles
	}{{"to", &f.toFiles}, {"from", &f.fromFiles}} {
		flags.StringVar(&side.files.CA, side.name+"-cafile", "", "PEM `file` of the authority of that datastore's certificate")
		flags.StringVar(&side.files.Cert, side.name+"-certfile", "", "PEM `file` of the certificate to show to it")
		flags.StringVar(&side.files.Key, side.name+"-keyfile", "", "PEM `file` of its key")
	}
	flags.BoolVar(&f.overwrite, "overwrite", false, "remove what the datastore to copy to holds")
	flags.BoolVar(&f.change, "switch", false, "write the new datastore into the node's configuration file")
	return cmd
}

func (e *env) datastoreMigrate(ctx context.Context, f *migrateFlags) error {
	if err := checkOutput(f.output); err != nil {
		return err
	}
	m, err := e.migration(f)
	if err != nil {
		return &usageError{err}
	}
	unlock, err := node.Lock(config.PathsOf(f.dataDir))
	if err != nil {
		return withHint(err, "stop the node first: `systemctl stop %s`", config.PathsOf(f.dataDir).UnitName())
	}
	defer unlock()
	bar := e.progress("migrate", f.output)
	defer bar.Stop()
	m.Progress = bar.Set
	done, err := datastore.Migrate(ctx, m)
	if errors.Is(err, datastore.ErrNotEmpty) {
		return withHint(err, "--overwrite removes what is there")
	}
	if err != nil {
		return err
	}
	bar.Done()
	file := configFile(f.configFile, f.dataDir)
	if f.change {
		if err := switchDatastore(file, m.To); err != nil {
			return err
		}
	}
	if f.output == outputJSON {
		return e.printJSON(done)
	}
	p := &printer{w: e.stdout}
	p.line("%d keys, %s, copied from %s to %s and compared (digest %.16s)", done.Keys, progress.Bytes(done.Bytes), m.From, m.To, done.Digest)
	if done.Behind > 0 {
		p.line("etcd's revision is %d behind: restart every pod that watches the API (kubectl rollout restart)", done.Behind)
	}
	switch _, inEnvironment := e.getenv(endpointVariable); {
	case inEnvironment:
		p.line("now change $%s, and start the node", endpointVariable)
	case f.change:
		p.line("%s names it now; start the node", file)
	case m.To.Kind == config.SQLite:
		p.line("now remove datastore-endpoint and the datastore's files from %s, and start the node", file)
	default:
		p.line("now set datastore-endpoint in %s (mode 0600) to the endpoint of %s, and start the node", file, m.To)
	}
	return p.err
}

// migration reads the two endpoints.
func (e *env) migration(f *migrateFlags) (datastore.Migration, error) {
	m := datastore.Migration{Dir: config.PathsOf(f.dataDir).DB(), Overwrite: f.overwrite}
	to, err := e.endpoint("to", f.to)
	if err != nil {
		return m, err
	}
	if to == "" {
		return m, errors.New("--to is missing: the endpoint to copy to, or sqlite")
	}
	if m.To, err = config.ParseDatastore(to, f.toFiles); err != nil {
		return m, fmt.Errorf("--to: %w", err)
	}
	from, err := e.endpoint("from", f.from)
	if err != nil {
		return m, err
	}
	if from == "" {
		m.From, err = f.current(e)
	} else if m.From, err = config.ParseDatastore(from, f.fromFiles); err != nil {
		err = fmt.Errorf("--from: %w", err)
	}
	return m, err
}

// endpoint is an endpoint from the command line, from standard input, or from the environment.
func (e *env) endpoint(name, given string) (string, error) {
	variable := "AIRGAP_DATASTORE_" + strings.ToUpper(name)
	switch {
	case given == "-":
		line, err := bufio.NewReader(e.stdin).ReadString('\n')
		if line = strings.TrimSpace(line); line == "" {
			return "", errors.Join(fmt.Errorf("--%s -: no endpoint on standard input", name), err)
		}
		return line, nil
	case hasPassword(given):
		return "", fmt.Errorf("--%s holds a password, and every user of this machine can read the command line; give it on standard input (--%[1]s -) or in $%[2]s", name, variable)
	case given == "":
		given, _ = e.getenv(variable)
	}
	return given, nil
}
