package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"airgap/signing"
)

// Trust decides whether a manifest, as the bytes that were signed, is accepted, and names who signed it.
// [signing.Policy] is one.
type Trust interface {
	Verify(message []byte, sigs []signing.Signature) (signerIDs []string, err error)
}

// AllowUnsigned accepts a bundle that nobody has signed. One that is signed is still held against Signed,
// or, if that is nil, accepted unverified and without naming a signer. It is for those who were told to
// in so many words (--allow-unsigned), and for looking at a bundle without using it.
type AllowUnsigned struct{ Signed Trust }

// Verify implements [Trust].
func (a AllowUnsigned) Verify(message []byte, sigs []signing.Signature) ([]string, error) {
	if len(sigs) == 0 || a.Signed == nil {
		return nil, nil
	}
	return a.Signed.Verify(message, sigs)
}

// Reader reads a bundle once, and holds each byte against what was signed.
// It is not safe for concurrent use.
type Reader struct {
	medium   medium
	manifest *Manifest
	head     []HeadFile
	signers  []string

	entries []Entry     // that the medium has: of a delta, those that are carried
	read    int         // how many of them have been begun
	begun   []bool      // which
	ordered int         // how many, from the first, come in the manifest's order whatever the medium: all metadata
	small   []byte      // holds an entry of up to chunkBytes, or a config
	free    chan []byte // chunks for longer ones
	current *stream     // the entry being read, when it is a long one
	trust   Trust       // says who vouches for statements
	vouched []VerifiedAttestation
	checked bool        // the graph has been
	held    []heldEntry // indexes and manifests that have been read for that and not yet handed on
	err     error       // sticky; io.EOF after the proper end
}

// Open reads the bundle at path, a file or a folder.
func Open(path string, trust Trust) (*Reader, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	var m medium
	if info.IsDir() {
		if m, err = openFolder(path); err != nil {
			return nil, err
		}
	} else {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open bundle: %w", err)
		}
		m = newTarMedium(tarFile{file})
	}
	r, err := newReader(m, trust)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	return r, nil
}

// NewReader reads the tar of a bundle from r and verifies its manifest. Close leaves r open.
func NewReader(r io.Reader, trust Trust) (*Reader, error) {
	return newReader(newTarMedium(anyTar{r}), trust)
}

func newReader(m medium, trust Trust) (*Reader, error) {
	if trust == nil {
		return nil, fmt.Errorf("%w: no key was given to verify the bundle with", signing.ErrUntrusted)
	}
	message, err := readBounded(m, ManifestPath, MaxManifestBytes)
	if err != nil {
		return nil, fmt.Errorf("not a bundle, or a damaged one: %w", err)
	}
	begins := m.begins()
	sigs, head, err := readSignatures(m)
	if err != nil {
		return nil, err
	}
	head = append([]HeadFile{{ManifestPath, message}}, head...)
	signers, err := trust.Verify(message, sigs)
	if err != nil {
		return nil, &Refusal{RuleSignature, ManifestPath, begins, fmt.Errorf("%s: %w", ManifestPath, err), trustRemedy(err, m.remedy())}
	}
	manifest, err := DecodeManifest(message)
	if err != nil {
		return nil, asSigned(err, begins)
	}
	if err := manifest.Validate(); err != nil {
		return nil, asSigned(err, begins)
	}
	if err := checkIndex(manifest); err != nil {
		return nil, asSigned(err, begins)
	}
	var names []string
	for _, f := range head {
		names = append(names, f.Name)
	}
	for _, e := range manifest.Carried() {
		names = append(names, e.Path)
	}
	if err := m.confirm(manifest, names); err != nil {
		return nil, err
	}
	r := &Reader{
		medium: m, trust: trust, manifest: manifest, head: head, signers: signers,
		free: make(chan []byte, chunks),
	}
	r.expect(manifest.Carried())
	for range chunks {
		r.free <- nil // allocated when first needed
	}
	return r, nil
}

// expect says which entries the medium has.
func (r *Reader) expect(entries []Entry) {
	r.entries, r.begun, r.ordered = entries, make([]bool, len(entries)), ordered(entries)
}

// asSigned completes the refusal of what has been signed: it is in a file that begins at an offset, and no other copy helps.
func asSigned(err error, begins int64) error {
	refusal, ok := err.(*Refusal)
	if !ok {
		return err
	}
	if refusal.Offset != nowhere {
		refusal.Offset += begins
	}
	refusal.Remedy = "its maker has made it so: ask for another, or read it with the airgap that made it"
	return refusal
}

// Manifest returns the bundle manifest, verified and valid.
func (r *Reader) Manifest() *Manifest { return r.manifest }

// Head returns the files that stand before the entries, as they were signed and read: the manifest, then the signatures.
func (r *Reader) Head() []HeadFile { return r.head }

// Signers returns the IDs of the keys whose signatures were accepted; none for an unsigned bundle.
func (r *Reader) Signers() []string { return r.signers }

// Next moves to the next entry and returns a reader of its contents, valid until the following call of Next. What
// has not been read of the present entry is read and checked first.
//
// Entries of up to 1 MiB, and all OCI metadata, are verified before they are returned. The reader of a longer one returns
// io.EOF only once all of it is verified; an error other than io.EOF means that what was read is worthless. After the last
// entry, when nothing follows it, Next returns io.EOF. Before the first index or manifest, the OCI graph has been checked as by [CheckGraph].
// Of a delta, those that are carried are returned, or all after [Reader.Supply].
// Entries come in the manifest's order, but for those after the metadata of a bundle that is read with [NewRemoteReader].
func (r *Reader) Next() (Entry, io.Reader, error) {
	if r.err != nil {
		return Entry{}, nil, r.err
	}
	e, contents, err := r.advance()
	if err != nil {
		r.err = err
		return Entry{}, nil, err
	}
	return e, contents, nil
}

func (r *Reader) advance() (Entry, io.Reader, error) {
	if r.current != nil {
		if err := r.current.drain(); err != nil {
			return Entry{}, nil, err
		}
		r.current = nil
	}
	entries := r.entries
	if !r.checked && (r.read == len(entries) || entries[r.read].Role != RoleLayout) {
		if err := r.readGraph(); err != nil {
			return Entry{}, nil, err
		}
	}
	if len(r.held) > 0 {
		e := r.held[0]
		r.held = r.held[1:]
		return e.Entry, bytes.NewReader(e.data), nil
	}
	if r.read == len(entries) {
		if err := r.medium.end(); err != nil {
			return Entry{}, nil, err
		}
		return Entry{}, nil, io.EOF
	}
	e, err := r.choose()
	if err != nil {
		return Entry{}, nil, err
	}
	if err := enterEntry(r.medium, e); err != nil {
		return Entry{}, nil, err
	}
	if e.Size > chunkBytes && !isMetadata(e.Role) {
		r.current = r.startStream(e)
		return e, r.current, nil
	}
	data, err := r.readSmall(e)
	if err != nil {
		return Entry{}, nil, err
	}
	return e, bytes.NewReader(data), nil
}

// choose returns the entry to read now: the next in order, or of those after the metadata the one that the medium has.
func (r *Reader) choose() (Entry, error) {
	at := r.read
	if at >= r.ordered {
		var err error
		if at, err = r.medium.next(at); err != nil {
			return Entry{}, err
		}
		if at < r.ordered || at >= len(r.begun) || r.begun[at] {
			return Entry{}, refuse(RuleOrder, "", nowhere, r.medium.remedy(), "entry %d of %d comes again, or is none", at, len(r.begun))
		}
	}
	r.begun[at] = true
	r.read++
	return r.entries[at], nil
}

// readSmall reads and verifies an entry in memory, until the next is read.
func (r *Reader) readSmall(e Entry) ([]byte, error) {
	r.small = slices.Grow(r.small[:0], int(e.Size))
	data := r.small[:e.Size]
	if err := r.readInto(e, data); err != nil {
		return nil, err
	}
	return data, r.checkAttestation(e, data)
}

// readInto reads and verifies an entry that has been entered.
func (r *Reader) readInto(e Entry, data []byte) error {
	if _, err := io.ReadFull(r.medium, data); err != nil {
		return readError(err, e.Path, r.medium.position(), r.medium.remedy())
	}
	sum := sha256.Sum256(data)
	return finishEntry(r.medium, e, sum[:])
}

// Close releases the bundle, once a read of the medium that is under way has come back. Readers
// that Next returned are of no use afterwards.
func (r *Reader) Close() error {
	if r.current != nil {
		close(r.current.stop)
		for range r.current.full { // until its goroutine is done with the medium
		}
		r.current = nil
	}
	if r.err == nil {
		r.err = errors.New("bundle: the reader is closed")
	}
	return r.medium.Close()
}
