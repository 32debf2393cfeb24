package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// BaseBundle is one of the bundles that have what a delta leaves out.
type BaseBundle struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"` // of its airgap.json
}

// Carried returns the entries that are in the bundle, in order: all of them but those that a delta leaves out.
func (m *Manifest) Carried() []Entry {
	return slices.DeleteFunc(slices.Clone(m.Entries), func(e Entry) bool { return e.Omitted })
}

// Omitted returns the entries that a delta leaves out, in order.
func (m *Manifest) Omitted() []Entry {
	return slices.DeleteFunc(slices.Clone(m.Entries), func(e Entry) bool { return !e.Omitted })
}

// Digest returns the digest of airgap.json: the name of this very bundle, by whomever it is signed.
func (m *Manifest) Digest() (string, error) {
	data, err := m.Encode()
	if err != nil {
		return "", err
	}
	return digestOf(data), nil
}

// Base is where the entries come from that a delta leaves out: a machine that has its base.
type Base interface {
	// Has says whether there is a blob of the entry's digest and size. It need not look into it.
	Has(e Entry) bool
	// Open opens an entry that is there. What it returns is held against the entry's size and digest.
	Open(e Entry) (io.ReadCloser, error)
}

// MissingBaseError says that a delta cannot be used here.
type MissingBaseError struct {
	Base    []BaseBundle // what the delta is for
	Omitted int          // entries that it leaves out
	Missing []Entry      // those of them that are not here
}

// Error names the base and the first of what is missing of it.
func (e *MissingBaseError) Error() string {
	const most = 5
	var names, paths []string
	for _, b := range e.Base {
		names = append(names, fmt.Sprintf("%s %s (%.19s…)", b.Name, b.Version, b.Digest))
	}
	var bytes int64
	for i, missing := range e.Missing {
		bytes += missing.Size
		if i < most {
			paths = append(paths, missing.Path)
		}
	}
	more := ""
	if n := len(e.Missing) - most; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("the bundle is a delta on %s: of the %d blobs that it leaves out %d, %d bytes, are not here: %s%s",
		strings.Join(names, " and "), e.Omitted, len(e.Missing), bytes, strings.Join(paths, ", "), more)
}

// Supply lets base give what a delta leaves out: [Reader.Next] then returns all of the manifest's entries, and the OCI graph is
// checked as that of a whole bundle. Without it Next returns those that are carried alone. It is called before Next; the error is a
// [*MissingBaseError] if base has not all. A bundle that leaves nothing out needs none, and is read as before.
func (r *Reader) Supply(base Base) error {
	omitted := r.manifest.Omitted()
	missing := slices.DeleteFunc(slices.Clone(omitted), base.Has)
	switch {
	case len(omitted) == 0:
		return nil
	case r.read > 0:
		return errors.New("bundle: Supply after Next")
	case len(missing) > 0:
		return &MissingBaseError{r.manifest.Base, len(omitted), missing}
	}
	s := &suppliedMedium{medium: r.medium, base: base, omitted: make(map[string]Entry, len(omitted))}
	for _, e := range omitted {
		s.omitted[e.Path] = e
	}
	r.medium = s
	r.expect(r.manifest.Entries)
	return nil
}

// suppliedMedium is a delta's medium, completed by its base.
type suppliedMedium struct {
	medium
	base    Base
	omitted map[string]Entry // by path

	current io.ReadCloser // the entry that base gives; nil when the medium has the present one
	name    string
	read    int64 // of current
}

// next implements [medium]: what completes a delta stands in the manifest's order between what it carries.
func (s *suppliedMedium) next(read int) (int, error) { return read, nil }

func (s *suppliedMedium) enter(name string) (int64, error) {
	e, ok := s.omitted[name]
	if !ok {
		return s.medium.enter(name)
	}
	contents, err := s.base.Open(e)
	if err != nil {
		return 0, fmt.Errorf("%s, which the bundle leaves out: %w; %s", name, err, suppliedRemedy)
	}
	s.current, s.name, s.read = contents, name, 0
	return e.Size, nil
}

const suppliedRemedy = "what this machine has of an earlier bundle is damaged: take the whole bundle instead of the delta"

func (s *suppliedMedium) Read(p []byte) (int, error) {
	if s.current == nil {
		return s.medium.Read(p)
	}
	n, err := s.current.Read(p)
	s.read += int64(n)
	return n, err
}

func (s *suppliedMedium) leave() error {
	if s.current == nil {
		return s.medium.leave()
	}
	var more [1]byte
	if _, err := io.ReadFull(s.current, more[:]); err != io.EOF {
		return refuse(RuleSize, s.name, s.read, suppliedRemedy, "%s goes on after its end", s.name)
	}
	err := s.current.Close()
	s.current = nil
	return err
}

func (s *suppliedMedium) begins() int64 {
	if s.current == nil {
		return s.medium.begins()
	}
	return 0
}

func (s *suppliedMedium) position() int64 {
	if s.current == nil {
		return s.medium.position()
	}
	return s.read
}

func (s *suppliedMedium) remedy() string {
	if s.current == nil {
		return s.medium.remedy()
	}
	return suppliedRemedy
}

func (s *suppliedMedium) Close() error {
	if s.current == nil {
		return s.medium.Close()
	}
	return errors.Join(s.current.Close(), s.medium.Close())
}

// leaveOut marks the entries of m that a site has, and names m's base. A blob that refers to others is left out only with all of
// them: whatever a delta carries is reached through what it carries.
func leaveOut(m *Manifest, metadata map[string][]byte, site *Inventory) error {
	has := site.sizes()
	at := make(map[string]int, len(m.Entries)) // blobs by digest
	for i, e := range m.Entries {
		if e.isBlob() {
			at[e.Digest()] = i
		}
	}
	decided := make(map[string]bool)
	var decide func(digest string, depth int) (bool, error)
	decide = func(digest string, depth int) (bool, error) {
		if out, done := decided[digest]; done {
			return out, nil
		}
		e := m.Entries[at[digest]]
		size, out := has[digest]
		out = out && size == e.Size && e.Role != RoleStatement
		if data, refers := metadata[digest]; refers && out && depth < maxGraphDepth {
			var n node
			if err := json.Unmarshal(data, &n); err != nil {
				return false, fmt.Errorf("%s: %w", digest, err)
			}
			for _, d := range n.references() {
				if _, here := at[d.Digest.String()]; !here {
					continue // a platform that nobody wants
				}
				with, err := decide(d.Digest.String(), depth+1)
				if err != nil {
					return false, err
				}
				out = out && with
			}
		}
		decided[digest] = out
		return out, nil
	}
	for digest, i := range at {
		out, err := decide(digest, 0)
		if err != nil {
			return err
		}
		if out {
			m.Entries[i].Omitted, m.Base = true, site.Bundles
		}
	}
	return nil
}
