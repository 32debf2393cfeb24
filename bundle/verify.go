package bundle

import (
	"context"
	"fmt"
	"io"
)

// Size returns how many bytes the entries in the bundle have, without headers, signatures and the manifest itself.
func (m *Manifest) Size() int64 {
	return SizeOf(m.Carried())
}

// SizeOf returns how many bytes entries have together.
func SizeOf(entries []Entry) int64 {
	var total int64
	for _, e := range entries {
		total += e.Size
	}
	return total
}

// TarBytes returns how many bytes the bundle has as a tar, whatever it is read from.
func (r *Reader) TarBytes() int64 {
	return r.headBytes() + tarBytes(r.manifest.Carried()) + tarTrailerBytes
}

// headBytes is how many bytes of the tar come before the carried entries.
func (r *Reader) headBytes() (total int64) {
	for _, f := range r.head {
		total += entryBytes(int64(len(f.Data)))
	}
	return total
}

// tarBytes returns how many bytes of a tar entries are, with their headers and paddings.
func tarBytes(entries []Entry) (total int64) {
	for _, e := range entries {
		total += entryBytes(e.Size)
	}
	return total
}

// Verify reads the bundle at path, a file or a folder, through and returns its manifest and the IDs of
// those who signed it once every byte has been checked. progress is as for [Reader.Verify].
func Verify(ctx context.Context, path string, trust Trust, progress func(done, total int64)) (*Manifest, []string, error) {
	r, err := Open(path, trust)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if err := r.Verify(ctx, progress); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return r.Manifest(), r.Signers(), nil
}

// Verify reads what is left of the bundle, to its proper end, and returns nil once every byte has been checked. It hashes on all cores where the
// medium can be read at several places, and reads each byte once all the same. progress, which may be nil, is told how
// many of the entries' bytes have been read.
func (r *Reader) Verify(ctx context.Context, progress func(done, total int64)) error {
	report := newReporter(r.Manifest().Size(), progress)
	for {
		if r.err == nil && r.checked && r.read == r.ordered && len(r.held) == 0 {
			if done, err := r.verifySections(ctx, report); done {
				return err
			}
		}
		_, contents, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			_, err = io.Copy(reportingWriter{ctx, io.Discard, report}, contents)
		}
		if err != nil {
			return err
		}
	}
}

// verifySections checks all entries after the metadata, if the medium can be read at several places.
func (r *Reader) verifySections(ctx context.Context, report func(bytes int)) (done bool, err error) {
	rest := r.entries[r.read:]
	m, ok := r.medium.(sectioned)
	if !ok || len(rest) == 0 {
		return false, nil
	}
	open := m.sections(rest)
	if open == nil {
		return false, nil
	}
	r.read = len(r.entries)
	if r.err = verifySections(ctx, rest, open, report); r.err != nil {
		return true, r.err
	}
	r.err = io.EOF
	return true, nil
}
