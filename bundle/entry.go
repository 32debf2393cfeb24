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
		return fmt.Errorf("%w: %s has %d bytes, %d were signed; %s", ErrFormat, e.Path, size, e.Size, m.remedy())
	}
	return nil
}

// contentsError says that e could not be read to its end.
func contentsError(m medium, e Entry, err error) error {
	return fmt.Errorf("%s: %w", e.Path, readError(err, m.remedy()))
}

// finishEntry checks the digest of e, which has been read to its size, and that it ends there.
func finishEntry(m medium, e Entry, sum []byte) error {
	if err := checkDigest(m, e, sum); err != nil {
		return err
	}
	return leaveEntry(m, e)
}

func checkDigest(m medium, e Entry, sum []byte) error {
	if hex.EncodeToString(sum) != e.SHA256 {
		return fmt.Errorf("%w: %s differs from what was signed; %s", ErrDigest, e.Path, m.remedy())
	}
	return nil
}

func leaveEntry(m medium, e Entry) error {
	if err := m.leave(); err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	return nil
}
