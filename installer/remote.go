package installer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"airgap/bundle"
	"airgap/internal/site"
)

// remote reads one bundle of the cluster: what this machine has already from its own disk, the rest from other nodes, which take
// several blobs at once and in their own order. It implements [bundle.Remote].
type remote struct {
	peers  *peers
	bundle site.Bundle

	entries []bundle.Entry
	ordered int
	next    int                 // entry, of those in order
	begun   bool                // the peers have been asked for what is missing
	local   []int               // entries, not in order, whose bytes may be here
	open    map[string][]int    // entries, not in order, that are still to come, by digest
	arrived map[string]struct{} // digests that are in the spool
	ready   []int               // entries, not in order, whose bytes are in the spool
	uses    map[string]int      // how many entries of a digest the import has not taken
	fetched int64               // bytes that came from other nodes
}

func (m *remote) File(ctx context.Context, name string, limit int64) ([]byte, error) {
	return m.peers.fetcher.File(ctx, m.bundle.Digest, name, limit)
}

// Expect notes what is wanted. Nobody is asked for it before the preflight: that is, before Next.
func (m *remote) Expect(_ context.Context, entries []bundle.Entry, ordered int) error {
	m.entries, m.ordered = entries, ordered
	return nil
}

// begin asks other nodes for what this machine seems not to have.
func (m *remote) begin(ctx context.Context) error {
	m.begun = true
	m.open, m.arrived, m.uses = map[string][]int{}, map[string]struct{}{}, map[string]int{}
	var missing []site.Blob
	for i, e := range m.entries {
		digest := e.Digest()
		m.uses[digest]++
		here := m.peers.seemsHere(e)
		switch {
		case i >= m.ordered && here:
			m.local = append(m.local, i)
		case i >= m.ordered:
			m.open[digest] = append(m.open[digest], i)
			fallthrough
		case !here:
			missing = append(missing, site.Blob{Digest: digest, Size: e.Size}) // one that is named twice comes once
		}
	}
	return m.peers.fetcher.Fetch(ctx, missing)
}

// Next implements [bundle.Remote].
func (m *remote) Next(ctx context.Context) (int, io.ReadCloser, error) {
	if !m.begun {
		if err := m.begin(ctx); err != nil {
			return 0, nil, err
		}
	}
	if m.next < m.ordered {
		m.next++
		contents, err := m.inOrder(ctx, m.next-1)
		return m.next - 1, contents, err
	}
	for {
		if len(m.ready) > 0 {
			i := m.ready[0]
			m.ready = m.ready[1:]
			contents, err := m.peers.fetcher.Blob(m.entries[i].Digest())
			return i, contents, err
		}
		if len(m.local) > 0 {
			i := m.local[0]
			m.local = m.local[1:]
			if contents, err := m.fromHere(ctx, i); contents != nil || err != nil {
				return i, contents, err
			}
			continue
		}
		if err := m.await(ctx); err != nil {
			return 0, nil, err
		}
	}
}

// inOrder opens an entry, and waits for it if it must come from elsewhere.
func (m *remote) inOrder(ctx context.Context, i int) (io.ReadCloser, error) {
	digest := m.entries[i].Digest()
	if _, here := m.arrived[digest]; !here {
		file, err := m.peers.here(m.entries[i])
		if err != nil {
			return nil, err
		}
		if file != nil {
			return file, nil
		}
		if err := m.peers.fetcher.Fetch(ctx, []site.Blob{{Digest: digest, Size: m.entries[i].Size}}); err != nil {
			return nil, err
		}
	}
	for {
		if _, here := m.arrived[digest]; here {
			return m.peers.fetcher.Blob(digest)
		}
		if err := m.await(ctx); err != nil {
			return nil, err
		}
	}
}

// fromHere opens an entry that is on this machine; nil if its bytes are not what they should be, and then other nodes are asked.
func (m *remote) fromHere(ctx context.Context, i int) (io.ReadCloser, error) {
	file, err := m.peers.here(m.entries[i])
	if err != nil {
		return nil, err
	}
	if file != nil {
		return file, nil
	}
	digest := m.entries[i].Digest()
	m.open[digest] = append(m.open[digest], i)
	return nil, m.peers.fetcher.Fetch(ctx, []site.Blob{{Digest: digest, Size: m.entries[i].Size}})
}

// await waits for another blob from other nodes.
func (m *remote) await(ctx context.Context) error {
	digest, file, err := m.peers.fetcher.Next(ctx)
	if errors.Is(err, io.EOF) {
		return errors.New("peers: everything came, and something is missing")
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	m.fetched += info.Size()
	m.arrived[digest] = struct{}{}
	m.ready = append(m.ready, m.open[digest]...)
	delete(m.open, digest)
	return nil
}

// took says that the import has an entry: the spool need not keep it any longer.
func (m *remote) took(e bundle.Entry) error {
	digest := e.Digest()
	if m.uses[digest]--; m.uses[digest] > 0 {
		return nil
	}
	if _, spooled := m.arrived[digest]; !spooled {
		m.peers.fetcher.Have(digest)
		return nil
	}
	return m.peers.fetcher.Done(digest)
}

// verifyFile says whether a file, at its start, is an entry's contents, and goes back to its start.
func verifyFile(file *os.File, e bundle.Entry) (bool, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(file, e.Size+1))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if n != e.Size || hex.EncodeToString(hash.Sum(nil)) != e.SHA256 {
		return false, nil
	}
	_, err = file.Seek(0, io.SeekStart)
	return true, err
}
