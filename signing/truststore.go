package signing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airgap/internal/atomicfile"
)

// Errors of a trust store that a caller decides on.
var (
	// ErrTrustSet says that a trust store already holds other keys than those it was to be set up with.
	ErrTrustSet = errors.New("this machine already trusts other keys")
	// ErrOrder says that a statement does not follow the one that is in force: it is old, or meant for another machine.
	ErrOrder = errors.New("the statement of trust does not follow the present one")
)

const (
	// trustFile is the statement in force, in its envelope: the only file of a trust store.
	trustFile = "trust.json"
	// publicKeySuffix ends the name of each key file in a store without trustFile, as they were made before there were statements.
	publicKeySuffix = ".pub"
)

// TrustStore is whom a machine trusts: a folder with the [Statement] in force. It is empty, which accepts nothing, until
// the first install sets it. From then on it changes only by statements that enough of the old and of the new keys have signed.
type TrustStore struct {
	dir       string
	statement *Statement // nil: empty
	envelope  *Envelope
}

// OpenTrustStore reads the trust store in dir. A folder that does not exist is an empty store. One that
// holds anything else is an error: it is not for this program to guess.
func OpenTrustStore(dir string) (*TrustStore, error) {
	s := &TrustStore{dir: filepath.Clean(dir)}
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("trust store: %w", err)
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == trustFile }) {
		return s, s.readStatement()
	}
	return s, s.readKeys(entries)
}

// readStatement reads the statement in force. Its signatures were checked when it came into force; nobody
// signs the first.
func (s *TrustStore) readStatement() error {
	path := filepath.Join(s.dir, trustFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	if s.envelope, err = ParseEnvelope(data); err == nil {
		s.statement, err = ParseStatement(s.envelope)
	}
	if err != nil {
		return fmt.Errorf("trust store: %s: %v; restore it from a copy, or from another machine with the same trust", path, err)
	}
	return nil
}

// readKeys reads a store of key files, any of which is enough.
func (s *TrustStore) readKeys(entries []fs.DirEntry) error {
	var keys []PublicKey
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "."+trustFile+".") {
			continue // a write of trustFile that a power cut broke off
		}
		path := filepath.Join(s.dir, entry.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("trust store: %w", err)
		}
		key, err := ParsePublicKey(data)
		if err != nil {
			return fmt.Errorf("trust store: %s: %w; restore it from a copy of the key, or remove it if it was never one", path, err)
		}
		if entry.Name() != key.ID()+publicKeySuffix {
			return fmt.Errorf("trust store: %s holds key %s; a key file is named by its ID", path, key.ID())
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil
	}
	var err error
	if s.statement, err = FirstStatement(Policy{Keys: keys, Threshold: 1}); err == nil {
		s.envelope = s.statement.Envelope()
	}
	return err
}

// Statement returns the statement in force, nil in an empty store.
func (s *TrustStore) Statement() *Statement { return s.statement }

// Envelope returns the statement in force as it was signed, nil in an empty store.
func (s *TrustStore) Envelope() *Envelope { return s.envelope }

// Keys returns the trusted keys, sorted by ID.
func (s *TrustStore) Keys() []PublicKey { return s.Policy().Keys }

// Policy is whose signatures count, and how many are needed. With an empty store it accepts nothing.
func (s *TrustStore) Policy() Policy {
	if s.statement == nil {
		return Policy{Threshold: 1}
	}
	return s.statement.Policy()
}

// Revoked returns the IDs of the keys that are never to be trusted again.
func (s *TrustStore) Revoked() []string {
	if s.statement == nil {
		return nil
	}
	return s.statement.Revoked
}

// Floor returns the lowest version that is acceptable under a name; "" if any is.
func (s *TrustStore) Floor(name string) string {
	if s.statement == nil {
		return ""
	}
	return s.statement.Floors[name]
}

// Init makes a policy the trust, durably, if the store is empty. It does nothing if it
// already holds exactly this, and returns [ErrTrustSet] if it holds anything else. A power cut
// leaves the store empty or complete.
func (s *TrustStore) Init(p Policy) error {
	for _, key := range p.Keys {
		if key.key == nil {
			return errors.New("trust store: an empty key cannot be trusted")
		}
	}
	if len(p.Keys)+len(p.Identities) == 0 {
		return errors.New("trust store: at least one key is needed; give it with --key")
	}
	first, err := FirstStatement(p)
	if err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	if s.statement == nil {
		return s.write(first, first.Envelope())
	}
	if s.statement.Threshold != p.Threshold || !slices.Equal(first.Keys, s.statement.Keys) || !slices.Equal(first.Identities, s.statement.Identities) {
		return fmt.Errorf("%w: %d of %s; they change only by a statement that the old keys have signed",
			ErrTrustSet, s.statement.Threshold, s.statement.whom())
	}
	return nil
}

// Apply makes the statement in e the one in force, durably. It does nothing if it is so already. The error is an [ErrInvalid],
// an [ErrOrder], or, when too few keys have signed it, an [ErrUntrusted] or [ErrUnsigned].
func (s *TrustStore) Apply(e *Envelope) error {
	next, err := ParseStatement(e)
	if err != nil {
		return err
	}
	if s.statement == nil {
		return fmt.Errorf("%w: this machine trusts nobody yet; its first install sets whom", ErrOrder)
	}
	if next.Digest() == s.statement.Digest() {
		return nil
	}
	if err := next.follows(s.statement); err != nil {
		return err
	}
	if err := next.Missing(s.statement, e); err != nil {
		return err
	}
	return s.write(next, e)
}

// write puts a statement in force.
func (s *TrustStore) write(statement *Statement, e *Envelope) error {
	data, err := e.Encode()
	if err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(s.dir)); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(s.dir, trustFile), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	s.statement, s.envelope = statement, e
	return s.removeKeyFiles()
}

// removeKeyFiles removes the files of a store from before there were statements: without trustFile they would be in force again.
func (s *TrustStore) removeKeyFiles() error {
	files, err := filepath.Glob(filepath.Join(s.dir, "*"+publicKeySuffix))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	return nil
}
