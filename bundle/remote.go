package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Remote hands over a bundle that other machines hold. Nothing that it says is believed: the [Reader] holds what it hands
// over against what was signed, as it does with a stick.
//
// What one machine does not give, or gives wrong, another may have: trying elsewhere is the Remote's part. It knows each
// entry's size and SHA-256 from Expect, and hands over what is whole: to the Reader an entry that is not what was signed
// is the end. One that is an [io.Closer] too is closed with the Reader; one with a method Remedy() string says by it what to do about
// what is not as it was signed.
type Remote interface {
	// File returns the manifest or a signature by its name in the bundle; the error is [fs.ErrNotExist] if there is none.
	// It takes no more than limit bytes from anybody.
	File(ctx context.Context, name string, limit int64) ([]byte, error)
	// Expect is told once what will be wanted: all entries, of which the first ordered ones must come in this order.
	Expect(ctx context.Context, entries []Entry, ordered int) error
	// Next hands over one entry of those expected that it has not handed over before, by its index. The contents are
	// closed before it is called again.
	Next(ctx context.Context) (index int, contents io.ReadCloser, err error)
}

// NewRemoteReader reads a bundle from other machines and verifies its manifest. ctx is for all that is asked of remote
// until the Reader is closed.
func NewRemoteReader(ctx context.Context, remote Remote, trust Trust) (*Reader, error) {
	r, err := newRemoteReader(&remoteMedium{ctx: ctx, remote: remote, wanted: func(m *Manifest) []Entry { return m.Entries }}, trust)
	if err != nil {
		return nil, err
	}
	r.expect(r.manifest.Entries) // what a delta leaves out comes from them too
	return r, nil
}

// NewCarriedReader is [NewRemoteReader] for a remote that has what the bundle carries, as a registry to which it was pushed, and gives all
// entries in the bundle's order. What a delta leaves out is not asked of it.
func NewCarriedReader(ctx context.Context, remote Remote, trust Trust) (*Reader, error) {
	return newRemoteReader(&remoteMedium{ctx: ctx, remote: remote, wanted: (*Manifest).Carried}, trust)
}

func newRemoteReader(m *remoteMedium, trust Trust) (*Reader, error) {
	r, err := newReader(m, trust)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return r, nil
}

// remoteMedium is a [Remote] as a medium.
type remoteMedium struct {
	ctx    context.Context
	remote Remote
	wanted func(*Manifest) []Entry // what it is to hand over

	head     map[string][]byte // files of the head that have been asked for and not entered
	entries  []Entry           // once the manifest is trusted
	read     int               // how many of them have been entered
	chosen   int               // what next has returned
	contents io.ReadCloser     // of the present entry
	pending  io.ReadCloser     // of the one that next has returned
	name     string
	taken    int64 // bytes of it
}

// headLimit is how large a file of the head may be.
func headLimit(name string) int64 {
	if name == ManifestPath {
		return MaxManifestBytes
	}
	return MaxSignatureBytes
}

func (d *remoteMedium) remedy() string {
	if own, ok := d.remote.(interface{ Remedy() string }); ok {
		return own.Remedy()
	}
	return "run it again: other machines may have it whole; or install from a stick"
}

func (d *remoteMedium) at(name string) (bool, error) {
	if _, asked := d.head[name]; asked {
		return true, nil
	}
	data, err := d.remote.File(d.ctx, name, headLimit(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	d.head = map[string][]byte{name: data}
	return true, nil
}

func (d *remoteMedium) enter(name string) (int64, error) {
	d.name, d.taken = name, 0
	if d.entries == nil {
		return d.enterHead(name)
	}
	if d.pending == nil { // metadata: in order
		if _, err := d.next(d.read); err != nil {
			return 0, err
		}
		if d.chosen != d.read {
			return 0, refuse(RuleOrder, name, nowhere, d.remedy(), "entry %d comes where %s must", d.chosen, name)
		}
	}
	d.contents, d.pending = d.pending, nil
	d.read++
	return d.entries[d.chosen].Size, nil
}

func (d *remoteMedium) enterHead(name string) (int64, error) {
	found, err := d.at(name)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, refuse(RuleOrder, name, nowhere, d.remedy(), "%s is missing", name)
	}
	data := d.head[name]
	d.head = nil
	d.contents = io.NopCloser(bytes.NewReader(data))
	return int64(len(data)), nil
}

func (d *remoteMedium) next(int) (int, error) {
	var err error
	if d.chosen, d.pending, err = d.remote.Next(d.ctx); err != nil {
		return 0, err
	}
	if d.pending == nil || d.chosen < 0 || d.chosen >= len(d.entries) {
		return 0, refuse(RuleOrder, "", nowhere, d.remedy(), "entry %d of %d is handed over", d.chosen, len(d.entries))
	}
	return d.chosen, nil
}

func (d *remoteMedium) begins() int64   { return 0 }
func (d *remoteMedium) position() int64 { return d.taken }

func (d *remoteMedium) Read(p []byte) (int, error) {
	if err := d.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := d.contents.Read(p)
	d.taken += int64(n)
	return n, err
}

func (d *remoteMedium) leave() error {
	var more [1]byte
	if n, err := io.ReadFull(d.contents, more[:]); n > 0 {
		return refuse(RuleSize, d.name, d.taken, d.remedy(), "%s goes on after its end", d.name)
	} else if err != io.EOF {
		return readError(err, d.name, d.taken, d.remedy())
	}
	err := d.contents.Close()
	d.contents = nil
	return err
}

func (d *remoteMedium) confirm(m *Manifest, _ []string) error {
	d.entries = d.wanted(m)
	return d.remote.Expect(d.ctx, d.entries, ordered(d.entries))
}

func (d *remoteMedium) end() error { return nil }

func (d *remoteMedium) Close() error {
	var errs []error
	for _, contents := range []io.Closer{d.contents, d.pending} {
		if contents != nil {
			errs = append(errs, contents.Close())
		}
	}
	d.contents, d.pending = nil, nil
	if remote, ok := d.remote.(io.Closer); ok {
		errs = append(errs, remote.Close())
	}
	return errors.Join(errs...)
}
