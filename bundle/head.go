package bundle

import (
	"bytes"
	"errors"
	"io"

	"airgap/signing"
)

// HeadFile is a file of a bundle's head: its manifest, or half a signature.
type HeadFile struct {
	Name string
	Data []byte
}

// trustRemedy says what to do about a manifest that was not accepted.
func trustRemedy(err error, remedy string) string {
	switch {
	case errors.Is(err, signing.ErrInvalid):
		return remedy
	case errors.Is(err, signing.ErrUnsigned):
		return "ask its maker for a signed one, or accept it unsigned in so many words"
	default:
		return ""
	}
}

// readSignatures reads the pairs of signature files, of which there may be none.
func readSignatures(m medium) (sigs []signing.Signature, files []HeadFile, err error) {
	for i := range MaxSignatures {
		sigstorePath, detachedPath := signaturePaths(i)
		found, err := m.at(sigstorePath)
		if err != nil {
			return nil, nil, err
		}
		if !found {
			break
		}
		var sig signing.Signature
		if sig.Sigstore, err = readBounded(m, sigstorePath, MaxSignatureBytes); err != nil {
			return nil, nil, err
		}
		if sig.Detached, err = readBounded(m, detachedPath, MaxSignatureBytes); err != nil {
			return nil, nil, err
		}
		sigs, files = append(sigs, sig), append(files, HeadFile{sigstorePath, sig.Sigstore}, HeadFile{detachedPath, sig.Detached})
	}
	return sigs, files, nil
}

// readBounded reads an entry whose size nobody has signed.
func readBounded(m medium, name string, limit int64) ([]byte, error) {
	size, err := m.enter(name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, refuse(RuleBounds, name, m.begins(), m.remedy(), "%s has %d bytes, the limit is %d", name, size, limit)
	}
	var data bytes.Buffer // grows with what is there, not with what is claimed
	if _, err := io.CopyN(&data, m, size); err != nil {
		return nil, readError(err, name, m.position(), m.remedy())
	}
	if err := m.leave(); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}
