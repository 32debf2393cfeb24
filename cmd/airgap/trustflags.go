package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/node/config"
	"airgap/signing"
)

// trustFlags say whose signatures make a bundle good.
type trustFlags struct {
	keys      []string // files
	threshold int      // 0: not given
}

func (t *trustFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&t.keys, "key", nil, "public key `file` of the bundle's maker (repeatable)")
	cmd.Flags().IntVar(&t.threshold, "threshold", 0, "how `many` different keys must have signed (default: one, or what the machine's trust says)")
}

// given is the policy that the flags alone set.
func (t *trustFlags) given() (signing.Policy, error) {
	keys, err := readPublicKeys(t.keys)
	if err != nil {
		return signing.Policy{}, err
	}
	policy := signing.Policy{Keys: keys, Threshold: max(1, t.threshold)}
	return policy, checkThreshold(t.threshold, len(keys))
}

// policy is what the flags say, or without --key the trust of the machine with this data folder, which
// --threshold can tighten.
func (t *trustFlags) policy(dataDir string) (signing.Policy, error) {
	if len(t.keys) > 0 {
		return t.given()
	}
	store, err := signing.OpenTrustStore(config.PathsOf(dataDir).Trust())
	if err != nil {
		return signing.Policy{}, err
	}
	policy := store.Policy()
	if len(policy.Keys) == 0 {
		return policy, withHint(&usageError{errors.New("--key is missing: whose signature makes the bundle good?")},
			"give the public key of its maker, as you got it from them; `airgap inspect` looks into a bundle without one")
	}
	policy.Threshold = max(policy.Threshold, t.threshold)
	return policy, checkThreshold(t.threshold, len(policy.Keys))
}

// checkThreshold refuses a number that no bundle could reach. Without keys there is nothing to compare it with.
func checkThreshold(threshold, keys int) error {
	if threshold < 0 || keys > 0 && threshold > keys {
		return &usageError{fmt.Errorf("--threshold %d: there are %d keys", threshold, keys)}
	}
	return nil
}
