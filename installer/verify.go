package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/installer/preflight"
	"airgap/signing"
)

// verify opens the bundle, reads its head, and decides whether this machine accepts it. The
// reader stays open: the bytes used later are those that follow, read once.
func (r *run) verify(ctx context.Context) (string, error) {
	var err error
	if r.trust, err = signing.OpenTrustStore(r.paths.Trust()); err != nil {
		return "", err
	}
	trust, err := r.policy()
	if err != nil {
		return "", err
	}
	if err := r.openBundle(ctx, trust); err != nil {
		return "", err
	}
	r.manifest = r.reader.Manifest()
	if r.digest, err = manifestDigest(r.manifest); err != nil {
		return "", err
	}
	if err := r.checkVersion(r.manifest); err != nil {
		return "", err
	}
	if r.remote == nil { // other nodes have what a delta leaves out
		if err := r.reader.Supply(base{r.paths}); err != nil {
			return "", r.ofBundle(err)
		}
	}
	m := r.manifest
	r.report.Bundle, r.report.Version, r.report.Digest = m.Name, m.Version, r.digest
	r.report.Signers, r.report.Unsigned = r.reader.Signers(), len(r.reader.Signers()) == 0
	detail := fmt.Sprintf("%s %s", m.Name, m.Version)
	if r.report.Unsigned {
		return detail + ", NOT SIGNED", nil
	}
	return detail + ", signed by " + shortIDs(r.report.Signers), nil
}

// openBundle opens the bundle of this run: the one that was named, or the next of the cluster.
func (r *run) openBundle(ctx context.Context, trust bundle.Trust) (err error) {
	if r.member != nil && r.member.peers != nil {
		if err := r.fillQueue(ctx, trust); err != nil {
			return err
		}
		r.reader, r.remote = r.member.queue[0].reader, r.member.queue[0].remote
		return nil
	}
	r.reader, err = media.Open(ctx, r.Bundle, trust, r.Media)
	switch {
	case errors.Is(err, fs.ErrNotExist) && media.IsPath(r.Bundle):
		return fmt.Errorf("%w: %w; is the stick mounted?", ErrUsage, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, media.ErrNotFirst), errors.Is(err, media.ErrReference):
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return err
}

// policy is whose signature this machine wants to see: those of its trust store, which given keys
// and thresholds cannot widen, or on a first install those given.
func (r *run) policy() (bundle.Trust, error) {
	known := r.trust.Policy()
	if r.trust.Statement() == nil {
		known = r.given()
	} else {
		known.Threshold = max(known.Threshold, r.Threshold)
		trusted := map[string]bool{}
		for _, key := range known.Keys {
			trusted[key.ID()] = true
		}
		for _, key := range r.Keys {
			if !trusted[key.ID()] {
				return nil, fmt.Errorf("%w: this machine does not trust key %s given with --key; its trust was set by its first install, to %s",
					ErrRefused, shortIDs([]string{key.ID()}), shortIDs(keyIDs(known.Keys)))
			}
		}
		for _, given := range r.Identities {
			if !slices.ContainsFunc(known.Identities, func(i *signing.Identity) bool { return i.Stated() == given.Stated() }) {
				return nil, fmt.Errorf("%w: this machine does not trust %s, by the trusted root that is given; its trust was set by its first install",
					ErrRefused, given.Stated())
			}
		}
	}
	all := len(known.Keys) + len(known.Identities)
	switch {
	case all > 0 && r.Threshold > all:
		return nil, fmt.Errorf("%w: --threshold %d: there are %d keys", ErrUsage, r.Threshold, all)
	case r.AllowUnsigned:
		return bundle.AllowUnsigned{Signed: known}, nil
	case all == 0:
		return nil, fmt.Errorf("%w: no key to verify the bundle with: give --key FILE (or --trusted-root and --certificate-identity), or --allow-unsigned to do without", ErrUsage)
	default:
		return known, nil
	}
}

// given is the policy that the options alone set: a first install makes it the machine's trust.
func (r *run) given() signing.Policy {
	return signing.Policy{Keys: r.Keys, Identities: r.Identities, Threshold: max(1, r.Threshold)}
}

// checkVersion refuses to go back: an old bundle, however well signed, may have known holes.
func (r *run) checkVersion(m *bundle.Manifest) error {
	accepted, err := readAccepted(r.paths)
	if err != nil {
		return err
	}
	highest := accepted[m.Name].under(r.trust.Revoked())
	for _, floor := range []string{r.trust.Floor(m.Name), highest.Floor} {
		if preflight.Older(m.Version, floor) {
			return fmt.Errorf("%w: %s %s is below %s, the lowest version of it that this machine may run", ErrRefused, m.Name, m.Version, floor)
		}
	}
	if preflight.Older(m.Version, highest.Version) && !r.AllowDowngrade {
		return fmt.Errorf("%w: %s %s is older than %s, which this machine has accepted; --allow-downgrade installs it all the same",
			ErrRefused, m.Name, m.Version, highest.Version)
	}
	return nil
}

// shortIDs writes who signed so that a person can compare it: key IDs in short, who signed by certificate in full.
func shortIDs(ids []string) string {
	short := slices.Clone(ids)
	for i, id := range ids {
		if !strings.Contains(id, " ") {
			short[i] = id[:min(16, len(id))]
		}
	}
	return strings.Join(short, ", ")
}

func keyIDs(keys []signing.PublicKey) []string {
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = key.ID()
	}
	return ids
}
