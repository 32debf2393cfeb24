package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/spf13/cobra"

	"airgap/node/config"
	"airgap/signing"
)

// trustChange are the flags of the verbs that change trust.
type trustChange struct {
	from          []string
	fromThreshold int
	threshold     int
	floors        []string
	key           keyFlags
	drop          []string // identities
	file          string
	dataDir       string
	report        string
}

func (c *trustChange) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&c.from, "from", nil, "`file` with the trust to start from: the last statement, or the public keys that a first install was given (repeatable) (default: this machine's)")
	flags.IntVar(&c.fromThreshold, "from-threshold", 1, "how `many` of the keys in --from a first install asked for")
	flags.IntVar(&c.threshold, "threshold", 0, "how `many` keys must sign from now on (default: as before)")
	flags.StringArrayVar(&c.floors, "floor", nil, "`bundle=version`: the lowest version of a bundle to accept from now on (repeatable)")
	flags.StringArrayVar(&c.drop, "drop-identity", nil, "`identity` that is no longer to be trusted, as trust list writes it (repeatable)")
	c.key.add(cmd, "to sign the statement with (repeatable)")
	flags.StringVarP(&c.file, "statement", "o", "", "`file` to write the statement to, instead of putting it in force here")
	addOutputFlag(cmd, &c.report, "")
	addDataDirFlag(cmd, &c.dataDir)
}

func newTrustAddCommand(e *env) *cobra.Command {
	var c trustChange
	var keyless trustFlags
	cmd := &cobra.Command{
		Use:   "add [KEY.pub...]",
		Short: "Trust further keys, or whose keyless signatures count",
		Long: `Trust further keys, or an identity whose keyless signatures count, with the trusted root that proves it. When Sigstore's
authorities or logs have changed, the same identity is added with the new root, and --drop-identity drops it with the old one.
Statements of trust are signed with keys alone.`,
		Example: `  airgap trust add bob.pub --key ann.key --key bob.key
  airgap trust add bob.pub eve.pub --threshold 2 --from ann.pub --key ann.key -o trust-2.json
  airgap trust add --trusted-root root.json --certificate-identity release@example.com --certificate-oidc-issuer https://accounts.example.com --key ann.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			added, err := readPublicKeys(args)
			if err != nil {
				return err
			}
			identities, err := keyless.identities()
			if err != nil {
				return err
			}
			if len(added)+len(identities) == 0 {
				return &usageError{errors.New("say what to trust: KEY.pub, or --trusted-root and --certificate-identity")}
			}
			return e.changeTrust(cmd.Context(), c, signing.Change{Add: added, AddIdentities: identities})
		},
	}
	c.add(cmd)
	keyless.addKeyless(cmd)
	return cmd
}

func newTrustRotateCommand(e *env) *cobra.Command {
	var c trustChange
	cmd := &cobra.Command{
		Use:   "rotate OLD NEW.pub",
		Short: "Trust one key in the place of another, given by its file or ID",
		Example: `  airgap trust rotate old.pub new.pub --key old.key --key new.key
  airgap trust rotate old.pub new.pub --from trust-2.json --key old.key --key new.key -o trust-3.json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			added, err := readPublicKeys(args[1:])
			if err != nil {
				return err
			}
			return e.changeTrust(cmd.Context(), c, signing.Change{Add: added}, args[0])
		},
	}
	c.add(cmd)
	return cmd
}

func newTrustRevokeCommand(e *env) *cobra.Command {
	var c trustChange
	cmd := &cobra.Command{
		Use:   "revoke KEY...",
		Short: "Never trust keys again, given by their files or IDs",
		Long: `Never trust keys again, given by their files or IDs. What they alone have signed no longer counts, the highest
version that a machine remembers of a bundle included: whoever stole a key cannot lock the next version out with one of 99.0.

With a threshold of 1 the thief of a key can do all that its owner can, this too: two keys of three are safer.`,
		Example: `  airgap trust revoke stolen.pub --key ann.key --key bob.key
  airgap trust revoke stolen.pub --floor site-a=1.4.0 --from trust-2.json --key ann.key -o trust-3.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := readKeyIDs(args)
			if err != nil {
				return err
			}
			return e.changeTrust(cmd.Context(), c, signing.Change{Revoke: ids})
		},
	}
	c.add(cmd)
	return cmd
}

// readKeyIDs reads keys that are given by their files or IDs.
func readKeyIDs(args []string) ([]string, error) {
	var ids []string
	for _, arg := range args {
		if _, err := os.Stat(arg); err != nil && len(arg) == 64 {
			ids = append(ids, strings.ToLower(arg))
			continue
		}
		keys, err := readPublicKeys([]string{arg})
		if err != nil {
			return nil, err
		}
		ids = append(ids, keys[0].ID())
	}
	return ids, nil
}

// changeTrust makes a statement that changes trust as told, signs it, and writes it or puts it in force. Keys in remove, given by
// their files or IDs, are no longer trusted.
func (e *env) changeTrust(ctx context.Context, c trustChange, change signing.Change, remove ...string) error {
	if err := checkOutput(c.report); err != nil {
		return err
	}
	if len(c.from) > 0 && c.file == "" {
		return &usageError{errors.New("-o is missing: with --from a statement is made for machines elsewhere")}
	}
	before, err := startingTrust(c.from, c.fromThreshold, c.dataDir)
	if err != nil {
		return err
	}
	if before == nil {
		return &usageError{fmt.Errorf("%s trusts nobody yet: its first install sets whom; say what to start from with --from", c.dataDir)}
	}
	removed, err := readKeyIDs(remove)
	if err != nil {
		return err
	}
	for _, key := range before.Policy().Keys {
		for i, id := range removed {
			if key.ID() == id {
				change.Remove, removed[i] = append(change.Remove, key), ""
			}
		}
	}
	if missing := strings.Join(removed, ""); missing != "" {
		return &usageError{fmt.Errorf("key %s is not trusted, so there is nothing to put another in its place", missing)}
	}
	change.Threshold, change.DropIdentities = c.threshold, c.drop
	if change.Floors, err = parseFloors(c.floors); err != nil {
		return err
	}
	next, err := before.Next(change)
	if err != nil {
		return &usageError{err}
	}
	keys, err := c.key.private(ctx, e)
	if err != nil {
		return err
	}
	envelope := next.Envelope()
	for _, key := range keys {
		if err := envelope.Sign(key); err != nil {
			return err
		}
	}
	report := reportOf(next)
	if c.file == "" {
		store, err := signing.OpenTrustStore(config.PathsOf(c.dataDir).Trust())
		if err != nil {
			return err
		}
		if err := store.Apply(envelope); err != nil {
			return withHint(err, "the old and the new keys must sign, each as many as they ask for: give theirs with --key, or collect signatures with -o and `airgap sign`")
		}
		return e.printTrust(report, c.report)
	}
	if err := next.Missing(before, envelope); err != nil {
		report.Missing = err.Error()
	}
	if err := writeEnvelope(c.file, envelope); err != nil {
		return err
	}
	return e.printTrust(report, c.report)
}

// parseFloors reads "bundle=version".
func parseFloors(list []string) (map[string]string, error) {
	floors := map[string]string{}
	for _, text := range list {
		name, version, found := strings.Cut(text, "=")
		if _, err := semver.StrictNewVersion(version); !found || name == "" || err != nil {
			return nil, &usageError{fmt.Errorf("--floor %q: want bundle=version, as in site-a=1.4.0", text)}
		}
		floors[name] = version
	}
	return floors, nil
}
