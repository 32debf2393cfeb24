package signing

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airgap/internal/atomicfile"
)

// ErrTrustSet says that a trust store already holds other keys than those it was to be set up with.
var ErrTrustSet = errors.New("this machine already trusts other keys")

// publicKeySuffix ends the name of each key file in a trust store.
const publicKeySuffix = ".pub"

// TrustStore is the set of public keys that a machine accepts: a folder with one file <ID>.pub per key.
// It is empty, which accepts nothing, until the first install sets it, all keys at once.
type TrustStore struct {
	dir  string
	keys map[string]PublicKey // by ID
}

// OpenTrustStore reads the trust store in dir. A folder that does not exist is an empty store. A folder that
// holds anything but keys under their own IDs is an error: it is not for this program to guess.
func OpenTrustStore(dir string) (*TrustStore, error) {
	s := &TrustStore{dir: filepath.Clean(dir), keys: make(map[string]PublicKey)}
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("trust store: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("trust store: %w", err)
		}
		key, err := ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("trust store: %s: %w; restore it from a copy of the key, or remove it if it was never one", path, err)
		}
		if entry.Name() != key.ID()+publicKeySuffix {
			return nil, fmt.Errorf("trust store: %s holds key %s; a key file is named by its ID", path, key.ID())
		}
		s.keys[key.ID()] = key
	}
	return s, nil
}

// Keys returns the trusted keys, sorted by ID.
func (s *TrustStore) Keys() []PublicKey {
	keys := make([]PublicKey, 0, len(s.keys))
	for _, id := range slices.Sorted(maps.Keys(s.keys)) {
		keys = append(keys, s.keys[id])
	}
	return keys
}

// Policy accepts what any one of the trusted keys has signed. With an empty store it accepts nothing.
func (s *TrustStore) Policy() Policy {
	return Policy{Keys: s.Keys(), Threshold: 1}
}

// Init makes keys the trusted ones, durably, if the store is empty. It does nothing if it
// already holds exactly these, and returns [ErrTrustSet] if it holds any others. A power cut
// leaves the store empty or complete.
func (s *TrustStore) Init(keys []PublicKey) error {
	wanted := make(map[string]PublicKey, len(keys))
	for _, key := range keys {
		if key.key == nil {
			return errors.New("trust store: an empty key cannot be trusted")
		}
		wanted[key.ID()] = key
	}
	if len(wanted) == 0 {
		return errors.New("trust store: at least one key is needed; give it with --key")
	}
	if len(s.keys) > 0 {
		if !slices.Equal(slices.Sorted(maps.Keys(wanted)), slices.Sorted(maps.Keys(s.keys))) {
			return fmt.Errorf("%w: %s; they change only by a statement that the old keys have signed",
				ErrTrustSet, strings.Join(slices.Sorted(maps.Keys(s.keys)), ", "))
		}
		return nil
	}
	if err := writeKeys(s.dir, wanted); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	s.keys = wanted
	return nil
}

// writeKeys writes the keys into a new folder beside dir and renames it to dir, which must not
// exist or be empty.
func writeKeys(dir string, keys map[string]PublicKey) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	for id, key := range keys {
		if err := atomicfile.Write(filepath.Join(temporary, id+publicKeySuffix), key.PEM(), 0o644); err != nil {
			return err
		}
	}
	if err := os.Rename(temporary, dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(parent)
}
