package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"airgap/node/config"
	"airgap/signing"
)

// trustFlags say whose signatures make a bundle good.
type trustFlags struct {
	keys      []string // files
	threshold int      // 0: not given

	trustedRoot string // file
	identity    signing.IdentityOptions
}

func (t *trustFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&t.keys, "key", nil, "public key `file` of the bundle's maker (repeatable)")
	cmd.Flags().IntVar(&t.threshold, "threshold", 0, "how `many` different keys must have signed (default: one, or what the machine's trust says)")
	t.addKeyless(cmd)
}

// addKeyless adds the flags of keyless signatures.
func (t *trustFlags) addKeyless(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.trustedRoot, "trusted-root", "", "Sigstore trusted root `file`: whose certificates count, for a keyless signature; no network is used")
	cmd.Flags().StringVar(&t.identity.Identity, "certificate-identity", "", "`subject` that the certificate of a keyless signature must name")
	cmd.Flags().StringVar(&t.identity.IdentityRegexp, "certificate-identity-regexp", "", "regular `expression` for that subject")
	cmd.Flags().StringVar(&t.identity.Issuer, "certificate-oidc-issuer", "", "`URL` of the issuer that must have vouched for the subject")
	cmd.Flags().StringVar(&t.identity.IssuerRegexp, "certificate-oidc-issuer-regexp", "", "regular `expression` for that issuer")
}

// keyless says whether any flag of keyless signatures was given.
func (t *trustFlags) keyless() bool {
	i := t.identity
	return t.trustedRoot+i.Identity+i.IdentityRegexp+i.Issuer+i.IssuerRegexp != ""
}

// identities are whose keyless signatures count.
func (t *trustFlags) identities() ([]*signing.Identity, error) {
	if !t.keyless() {
		return nil, nil
	}
	options := t.identity
	switch {
	case t.trustedRoot == "":
		return nil, withHint(&usageError{errors.New("--trusted-root is missing: whose certificates count?")},
			"`cosign trusted-root create` writes one where there is a network; carry it here")
	case options.Identity+options.IdentityRegexp == "":
		return nil, &usageError{errors.New("--certificate-identity is missing: whose signature makes the bundle good?")}
	case options.Issuer+options.IssuerRegexp == "":
		return nil, &usageError{errors.New("--certificate-oidc-issuer is missing: who must have vouched for the subject?")}
	}
	var err error
	if options.TrustedRoot, err = os.ReadFile(t.trustedRoot); err != nil {
		return nil, &usageError{fmt.Errorf("--trusted-root: %w", err)}
	}
	identity, err := signing.NewIdentity(options)
	if err != nil {
		return nil, &usageError{err}
	}
	return []*signing.Identity{identity}, nil
}

// given is the policy that the flags alone set.
func (t *trustFlags) given() (signing.Policy, error) {
	keys, err := readPublicKeys(t.keys)
	if err != nil {
		return signing.Policy{}, err
	}
	identities, err := t.identities()
	if err != nil {
		return signing.Policy{}, err
	}
	policy := signing.Policy{Keys: keys, Identities: identities, Threshold: max(1, t.threshold)}
	return policy, checkThreshold(t.threshold, len(keys)+len(identities))
}

// policy is what the flags say, or without --key the trust of the machine with this data folder, which
// --threshold can tighten.
func (t *trustFlags) policy(dataDir string) (signing.Policy, error) {
	if len(t.keys) > 0 || t.keyless() {
		return t.given()
	}
	store, err := signing.OpenTrustStore(config.PathsOf(dataDir).Trust())
	if err != nil {
		return signing.Policy{}, err
	}
	policy := store.Policy()
	if store.Statement() == nil {
		return policy, withHint(&usageError{errors.New("--key is missing: whose signature makes the bundle good?")},
			"give the public key of its maker, as you got it from them; `airgap inspect` looks into a bundle without one")
	}
	policy.Threshold = max(policy.Threshold, t.threshold)
	return policy, checkThreshold(t.threshold, len(policy.Keys)+len(policy.Identities))
}

// checkThreshold refuses a number that no bundle could reach. Without keys there is nothing to compare it with.
func checkThreshold(threshold, keys int) error {
	if threshold < 0 || keys > 0 && threshold > keys {
		return &usageError{fmt.Errorf("--threshold %d: there are %d keys", threshold, keys)}
	}
	return nil
}
