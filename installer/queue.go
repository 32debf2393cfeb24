package installer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"airgap/bundle"
	"airgap/registry/retained"
)

// queued is a bundle of the cluster whose head has been verified.
type queued struct {
	reader *bundle.Reader
	remote *remote
	digest string
}

// fillQueue verifies the heads of all bundles that the cluster has, and puts them in the order in which they are installed: those with an executable for this machine first, then as the cluster did. One that the
// machine must not have is the end of all: nothing has been installed yet. Those that it has are left out, but not the
// last: something must start the node.
func (r *run) fillQueue(ctx context.Context, trust bundle.Trust) error {
	m := r.member
	if m.queue != nil {
		return nil
	}
	list, err := m.peers.fetcher.Bundles(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("no node of the cluster has a bundle to give: install one on the server again, or give the stick's bundle here too")
	}
	for _, b := range list {
		if slices.ContainsFunc(m.queue, func(q queued) bool { return q.digest == b.Digest }) {
			continue
		}
		called := fmt.Sprintf("bundle %q of the cluster", b.Name+" "+b.Version) // nobody has signed these yet
		q := queued{remote: m.peers.remote(b), digest: b.Digest}
		if q.reader, err = bundle.NewRemoteReader(ctx, q.remote, trust); err != nil {
			return fmt.Errorf("%s: %w", called, err)
		}
		m.queue = append(m.queue, q)
		if got, err := manifestDigest(q.reader.Manifest()); err != nil || got != b.Digest {
			return errors.Join(err, fmt.Errorf("%s: %w: its manifest is %s, not %s as was said", called, bundle.ErrDigest, got, b.Digest))
		}
		if err := r.checkVersion(q.reader.Manifest()); err != nil {
			return err
		}
	}
	slices.SortStableFunc(m.queue, func(a, b queued) int { return a.place() - b.place() })
	has, err := r.installedBundles()
	if err != nil {
		return err
	}
	last := m.queue[len(m.queue)-1]
	m.queue = slices.DeleteFunc(m.queue, func(q queued) bool {
		if q.digest == last.digest || !has[q.digest] {
			return false
		}
		_ = q.reader.Close()
		return true
	})
	return nil
}

// place is 0 for a bundle that brings an executable for this machine, else 1.
func (q queued) place() int {
	if distributionOf(q.reader.Manifest()) != nil {
		return 0
	}
	return 1
}

// installedBundles are the digests of the bundles that the machine has, whole and as the last of their names.
func (r *run) installedBundles() (map[string]bool, error) {
	accepted, err := readAccepted(r.paths)
	if err != nil {
		return nil, err
	}
	list, err := retained.Open(r.paths.Bundles(), r.paths.ContentBlobs()).List()
	if err != nil {
		r.console.warn(err.Error())
	}
	has := map[string]bool{}
	for _, b := range list {
		has[b.Digest] = accepted[b.Name].Digest == b.Digest && r.installed()
	}
	return has, nil
}

// manifestDigest is the digest of a manifest as it was signed: its encoding is canonical.
func manifestDigest(m *bundle.Manifest) (string, error) {
	encoded, err := m.Encode()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(encoded)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
