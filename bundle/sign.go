package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"airgap/internal/atomicfile"
	"airgap/signing"
)

// Signer signs messages: a [signing.PrivateKey], or a [signing.MadeSignature].
type Signer interface {
	Sign(message []byte) (signing.Signature, error)
}

// AddSignatures signs the manifest of the bundle at path, a file or a folder, with further keys and returns it. What
// others have signed stays, and who has signed already does not sign again. trust says whose bundle it must be to be
// signed; all of it is read and checked before a signature is there.
//
// A folder gets two more files for each signer. A file is written anew beside the old one, and takes its place once it is
// complete and on disk: signatures stand before what they are over.
func AddSignatures(ctx context.Context, path string, trust Trust, signers []Signer, progress func(done, total int64)) (*Manifest, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	sign := signFile
	if info.IsDir() {
		sign = signFolder
	}
	m, err := sign(ctx, path, trust, signers, progress)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", path, err)
	}
	return m, nil
}

// furtherSignatures are the files that signers add to a head.
func furtherSignatures(head []HeadFile, signers []Signer) ([]HeadFile, error) {
	message := head[0].Data
	var sigs []signing.Signature
	for i := 1; i+1 < len(head); i += 2 {
		sigs = append(sigs, signing.Signature{Sigstore: head[i].Data, Detached: head[i+1].Data})
	}
	var added []HeadFile
	for _, signer := range signers {
		sig, err := signer.Sign(message)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(sigs, func(other signing.Signature) bool { return bytes.Equal(other.Detached, sig.Detached) }) {
			continue
		}
		if len(sigs) == MaxSignatures {
			return nil, fmt.Errorf("it has %d signatures, which is the most there can be", len(sigs))
		}
		if len(sig.Sigstore) > MaxSignatureBytes {
			return nil, fmt.Errorf("a signature of %d bytes, the limit is %d", len(sig.Sigstore), MaxSignatureBytes)
		}
		sigstorePath, detachedPath := signaturePaths(len(sigs))
		sigs = append(sigs, sig)
		added = append(added, HeadFile{sigstorePath, sig.Sigstore}, HeadFile{detachedPath, sig.Detached})
	}
	return added, nil
}

// signFolder adds files to a folder. The second half of each signature comes first, and of several the last: a first half is what
// a reader looks for.
func signFolder(ctx context.Context, path string, trust Trust, signers []Signer, progress func(done, total int64)) (*Manifest, error) {
	r, err := Open(path, trust)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := r.Verify(ctx, progress); err != nil {
		return nil, err
	}
	added, err := furtherSignatures(r.Head(), signers)
	if err != nil {
		return nil, err
	}
	for i := len(added) - 1; i >= 0; i-- {
		if err := atomicfile.Write(filepath.Join(path, added[i].Name), added[i].Data, 0o644); err != nil {
			return nil, err
		}
	}
	return r.Manifest(), nil
}

// signFile writes a tar anew. What it writes after the head is what is read, once, and checked on its way.
func signFile(ctx context.Context, path string, trust Trust, signers []Signer, progress func(done, total int64)) (_ *Manifest, err error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	tail := new(held)
	r, err := NewReader(io.TeeReader(in, tail), trust)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	added, err := furtherSignatures(r.Head(), signers)
	if err != nil {
		return nil, err
	}
	if len(added) == 0 {
		return r.Manifest(), r.Verify(ctx, progress)
	}
	issued, err := parseIssuedAt(r.Manifest().IssuedAt)
	if err != nil {
		return nil, err
	}
	out, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			out.Close()
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	old := encodeHead(r.Head(), issued.Unix())
	if _, err := out.Write(append(old, encodeHead(added, issued.Unix())...)); err != nil {
		return nil, err
	}
	if err := tail.release(len(old), out); err != nil {
		return nil, err
	}
	if err := r.Verify(ctx, progress); err != nil {
		return nil, err
	}
	if err := out.Chmod(0o644); err != nil {
		return nil, err
	}
	return r.Manifest(), atomicfile.Commit(out, path)
}

// encodeHead returns the part of a tar that files of a head are.
func encodeHead(files []HeadFile, mtime int64) []byte {
	var out bytes.Buffer
	for _, f := range files {
		header := encodeHeader(f.Name, int64(len(f.Data)), mtime)
		out.Write(header[:])
		out.Write(f.Data)
		out.Write(make([]byte, paddedSize(int64(len(f.Data)))-int64(len(f.Data))))
	}
	return out.Bytes()
}

// held keeps what is written to it until it is known where it goes.
type held struct {
	kept bytes.Buffer
	w    io.Writer // nil: not known yet
}

func (h *held) Write(p []byte) (int, error) {
	if h.w == nil {
		return h.kept.Write(p)
	}
	return h.w.Write(p)
}

// release writes what has been kept, but for its first skip bytes, to w, and from then on everything.
func (h *held) release(skip int, w io.Writer) error {
	h.w = w
	h.kept.Next(skip)
	_, err := h.kept.WriteTo(w)
	return err
}
