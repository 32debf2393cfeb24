package registry

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// MaxMetadataBytes bounds an index, manifest or image configuration, which are held in
// memory whole. It is the limit that containerd and the distribution protocol have.
const MaxMetadataBytes = 8 << 20

// OpenBlob opens the blob with the given digest ("sha256:…") and tells its size in bytes.
// The error is [ErrNotFound] when the store does not have it.
func (s *Store) OpenBlob(ctx context.Context, dgst string) (io.ReadSeekCloser, int64, error) {
	d, err := parseDigest(dgst)
	if err != nil {
		return nil, 0, err
	}
	info, err := s.db.ContentStore().Info(inNamespace(ctx), d)
	if errdefs.IsNotFound(err) {
		return nil, 0, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("blob %s: %w", d, err)
	}
	file, err := os.Open(s.blobPath(d.Encoded()))
	if err != nil {
		return nil, 0, fmt.Errorf("blob %s: %w", d, err)
	}
	return file, info.Size, nil
}

// ReadBlob returns a metadata blob, at most [MaxMetadataBytes].
func (s *Store) ReadBlob(ctx context.Context, dgst string) ([]byte, error) {
	file, size, err := s.OpenBlob(ctx, dgst)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > MaxMetadataBytes {
		return nil, fmt.Errorf("blob %s: %d bytes is more than metadata may have (%d)", dgst, size, MaxMetadataBytes)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, fmt.Errorf("blob %s: %w", dgst, err)
	}
	return data, nil
}

// parseDigest accepts SHA-256 digests only: nothing else is verified on its way in.
func parseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", fmt.Errorf("digest %q: %w", s, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("digest %q: only sha256 is supported", s)
	}
	return d, nil
}
