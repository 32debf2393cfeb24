package bundle

import (
	"encoding/hex"
	"fmt"
)

// enterEntry moves m to e, which must be next and of the size that was signed.
func enterEntry(m medium, e Entry) error {
	size, err := m.enter(e.Path)
	if err != nil {
		return err
	}
	if size != e.Size {
		return refuse(RuleSize, e.Path, m.begins(), m.remedy(), "%s has %d bytes, %d were signed", e.Path, size, e.Size)
	}
	return nil
}

// finishEntry checks the digest of e, which has been read to its size, and that it ends there.
func finishEntry(m medium, e Entry, sum []byte) error {
	if err := checkDigest(e, sum, m.begins(), m.remedy()); err != nil {
		return err
	}
	return m.leave()
}

// checkDigest compares the SHA-256 of e, whose contents begin at offset, with what was signed.
func checkDigest(e Entry, sum []byte, offset int64, remedy string) error {
	if hex.EncodeToString(sum) == e.SHA256 {
		return nil
	}
	return &Refusal{RuleDigest, e.Path, offset, fmt.Errorf("%w: %s differs from what was signed", ErrDigest, e.Path), remedy}
}
