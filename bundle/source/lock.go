package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"

	"airgap/internal/atomicfile"
)

// LockKind is the kind of an airgap.lock.
const LockKind = "Lock"

// lockHeader stands at the top of each lock.
const lockHeader = "# Written by `airgap build`; keep it with airgap.yaml. `airgap build --update` renews it.\n"

// Lock is an airgap.lock: what the references in an airgap.yaml meant when its bundle was
// built. What lies beside airgap.yaml is recorded, so that a change can be seen; what comes from a registry
// is held to it.
type Lock struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	IssuedAt   string   `yaml:"issuedAt"` // RFC 3339, UTC, whole seconds
	Content    string   `yaml:"content"`  // digest of all that the bundle manifest says but the time: the time is kept while this stays
	From       []Locked `yaml:"from"`
	Images     []Locked `yaml:"images"`
	Referrers  []Locked `yaml:"referrers,omitempty"` // signatures of images, each under the reference by which its registry has it
	Charts     []Locked `yaml:"charts"`
}

// Locked is one source and the digest it had.
type Locked struct {
	Source string `yaml:"source"`
	Digest string `yaml:"digest"`
}

// ReadLock reads an airgap.lock. It gives nil if there is none.
func ReadLock(path string) (*Lock, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return ParseLock(path, data)
}

// ParseLock reads the contents of an airgap.lock: one document of the known fields. path is how errors call it.
func ParseLock(path string, data []byte) (*Lock, error) {
	var lock Lock
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&lock); err != nil {
		return nil, lockError(path, err)
	}
	if err := decoder.Decode(new(yaml.Node)); err != io.EOF {
		return nil, lockError(path, errors.New("more follows its document"))
	}
	if lock.APIVersion != APIVersion || lock.Kind != LockKind {
		return nil, lockError(path, fmt.Errorf("its apiVersion and kind are not %s %s", APIVersion, LockKind))
	}
	if _, err := time.Parse(time.RFC3339, lock.IssuedAt); err != nil {
		return nil, lockError(path, err)
	}
	for _, locked := range slices.Concat(lock.From, lock.Images, lock.Referrers, lock.Charts) {
		if _, err := digest.Parse(locked.Digest); err != nil {
			return nil, lockError(path, fmt.Errorf("the digest of %q: %v", locked.Source, err))
		}
	}
	return &lock, nil
}

func lockError(path string, err error) error {
	return &Error{[]string{fmt.Sprintf("%s: not a lock: %v; `airgap build --update` writes it anew", filepath.Base(path), err)}}
}

// Write puts the lock where [ReadLock] finds it. A file that is the same already is left alone.
func (l *Lock) Write(path string) error {
	encoded, err := l.encode()
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, encoded) {
		return nil
	}
	return atomicfile.Write(path, encoded, 0o644)
}

// encode returns the file.
func (l *Lock) encode() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(lockHeader)
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := encoder.Encode(l)
	return out.Bytes(), err
}

// image and chart are the digests that a lock, which may be nil, holds a source to; "" if none.
func (l *Lock) image(source string) string {
	if l == nil {
		return ""
	}
	return find(l.Images, source)
}

func (l *Lock) chart(source string) string {
	if l == nil {
		return ""
	}
	return find(l.Charts, source)
}

func find(list []Locked, source string) string {
	for _, locked := range list {
		if locked.Source == source {
			return locked.Digest
		}
	}
	return ""
}
