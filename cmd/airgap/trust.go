package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"airgap/node/config"
	"airgap/signing"
)

var _ = register(newTrustCommand)

func newTrustCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Show and change whose bundles machines accept",
		Long: `Show and change whose bundles machines accept.

A machine's first install sets which keys it trusts, and how many of them must sign. From then on that changes by
statements alone: each names the one before it, and counts when enough of the old keys and enough of the new
ones have signed it. Machines that were given the same keys take the same statement.

A statement is made at a desk with add, rotate or revoke and -o, signed there with --key and elsewhere with ` + "`airgap sign`" + `,
carried to each machine, and put in force there with apply. On a machine itself, without -o, the change is
put in force at once, if the keys given are enough for it.`,
		Example: `  airgap trust list
  airgap trust rotate old.pub new.pub --from old.pub --key old.key --key new.key -o trust-2.json
  airgap trust apply /media/stick/trust-2.json`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTrustListCommand(e), newTrustApplyCommand(e),
		newTrustAddCommand(e), newTrustRotateCommand(e), newTrustRevokeCommand(e))
	return cmd
}

// trustReport is what the verbs of trust print as JSON.
type trustReport struct {
	Generation int               `json:"generation"` // 0: nobody is trusted yet
	Digest     string            `json:"digest,omitempty"`
	Threshold  int               `json:"threshold"`
	Keys       []string          `json:"keys"`                 // IDs
	Identities []string          `json:"identities,omitempty"` // subject and issuer
	Revoked    []string          `json:"revoked"`
	Floors     map[string]string `json:"floors"` // lowest acceptable version by bundle name
	Missing    string            `json:"missing,omitempty"`
}

func reportOf(s *signing.Statement) trustReport {
	report := trustReport{Keys: []string{}, Revoked: []string{}, Floors: map[string]string{}}
	if s == nil {
		return report
	}
	report.Generation, report.Digest, report.Threshold = s.Generation, s.Digest(), s.Threshold
	report.Revoked, report.Floors = s.Revoked, s.Floors
	for _, key := range s.Policy().Keys {
		report.Keys = append(report.Keys, key.ID())
	}
	for _, identity := range s.Identities {
		report.Identities = append(report.Identities, identity.String())
	}
	return report
}

// printTrust reports whom a statement trusts.
func (e *env) printTrust(report trustReport, output string) error {
	if output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	if report.Generation == 0 {
		p.line("nobody is trusted yet: the first install sets whom")
		return p.err
	}
	p.line("generation %d, %s", report.Generation, report.Digest)
	p.line("signatures needed: %d of %d", report.Threshold, len(report.Keys)+len(report.Identities))
	for _, id := range report.Keys {
		p.line("key      %s", id)
	}
	for _, identity := range report.Identities {
		p.line("identity %s", identity)
	}
	for _, id := range report.Revoked {
		p.line("revoked  %s", id)
	}
	for _, name := range slices.Sorted(maps.Keys(report.Floors)) {
		p.line("floor    %s %s", name, report.Floors[name])
	}
	if report.Missing != "" {
		p.line("not in force yet: %s", report.Missing)
	}
	return p.err
}

func newTrustListCommand(e *env) *cobra.Command {
	var from []string
	var dataDir, output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys that a machine, or a statement, trusts",
		Example: `  airgap trust list
  airgap trust list --from trust-2.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			statement, err := startingTrust(from, 1, dataDir)
			if err != nil {
				return err
			}
			return e.printTrust(reportOf(statement), output)
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "statement `file`, or public keys (repeatable), instead of a machine's trust")
	addDataDirFlag(cmd, &dataDir)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

func newTrustApplyCommand(e *env) *cobra.Command {
	var dataDir, output string
	cmd := &cobra.Command{
		Use:   "apply STATEMENT...",
		Short: "Put signed statements in force on this machine",
		Long: `Put signed statements in force on this machine, in the order given. One that is in force already
is passed over, so a machine that has missed some takes them all.`,
		Example: `  airgap trust apply trust-2.json
  airgap trust apply trust-2.json trust-3.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			store, err := signing.OpenTrustStore(config.PathsOf(dataDir).Trust())
			if err != nil {
				return err
			}
			for _, path := range args {
				if err := applyStatement(store, path); err != nil {
					return err
				}
			}
			return e.printTrust(reportOf(store.Statement()), output)
		},
	}
	addDataDirFlag(cmd, &dataDir)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// applyStatement puts the statement in a file in force, unless the machine is past it.
func applyStatement(store *signing.TrustStore, path string) error {
	envelope, err := readEnvelope(path)
	if err != nil {
		return err
	}
	if envelope == nil {
		return &usageError{fmt.Errorf("%s is no statement of trust", path)}
	}
	if err := store.Apply(envelope); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// startingTrust is the statement in a file, the first one of public keys, or that of a machine. It is nil if the machine trusts nobody.
func startingTrust(from []string, threshold int, dataDir string) (*signing.Statement, error) {
	if len(from) == 0 {
		store, err := signing.OpenTrustStore(config.PathsOf(dataDir).Trust())
		if err != nil {
			return nil, err
		}
		return store.Statement(), nil
	}
	envelope, err := readEnvelope(from[0])
	if err != nil {
		return nil, err
	}
	if envelope == nil {
		keys, err := readPublicKeys(from)
		if err != nil {
			return nil, err
		}
		statement, err := signing.FirstStatement(signing.Policy{Keys: keys, Threshold: threshold})
		if err != nil {
			return nil, &usageError{fmt.Errorf("--from %s: %w", strings.Join(from, ", "), err)}
		}
		return statement, nil
	}
	if len(from) > 1 {
		return nil, &usageError{fmt.Errorf("--from: want one statement, or public keys")}
	}
	statement, err := signing.ParseStatement(envelope)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from[0], err)
	}
	return statement, nil
}

// addDataDirFlag adds --data-dir.
func addDataDirFlag(cmd *cobra.Command, dataDir *string) {
	cmd.Flags().StringVarP(dataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of the node whose trust it is")
}

func init() {
	refusals = append(refusals, signing.ErrOrder)
}
