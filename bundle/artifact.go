package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of the artifacts in a bundle. Charts have Helm's, so that `helm pull`
// from a registry serving the layout understands them.
const (
	ChartConfigMediaType = "application/vnd.cncf.helm.config.v1+json"
	ChartLayerMediaType  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

	ObjectsArtifactType   = "application/vnd.airgap.objects.v1"
	ObjectsLayerMediaType = "application/yaml"

	FileArtifactType   = "application/vnd.airgap.file.v1"
	FileLayerMediaType = "application/octet-stream"

	StatementArtifactType   = "application/vnd.in-toto+json"
	StatementLayerMediaType = "application/vnd.dsse.envelope.v1+json"

	DistributionArtifactType   = "application/vnd.airgap.distribution.v1"
	DistributionLayerMediaType = "application/vnd.airgap.executable.v1"
)

// Blob is one content-addressed part of a bundle and the way to its bytes.
type Blob struct {
	Digest string // "sha256:<hex>"
	Size   int64  // bytes
	Role   Role   // why it is there; the first in order of the Role constants wins when there are several reasons

	// Open streams the bytes from the start. It is called once or twice per build, from several goroutines
	// for different blobs, and need not check anything: what it returns is held against Digest and Size.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// NewBlob makes a Blob of bytes in memory.
func NewBlob(role Role, data []byte) Blob {
	return Blob{
		Digest: digestOf(data), Size: int64(len(data)), Role: role,
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// NewArtifact wraps layer in an OCI artifact and returns every blob of it (manifest, config, layer) and
// the manifest's digest. An empty configMediaType means the OCI empty config "{}", with config
// nil. An empty artifactType leaves the field out, as Helm does: the config's type then says
// what the artifact is.
func NewArtifact(artifactType, layerMediaType, configMediaType string, config []byte, layer Blob) (blobs []Blob, manifestDigest string, err error) {
	if configMediaType == "" {
		configMediaType, config = ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data
	}
	if layerMediaType == "" || len(config) == 0 {
		return nil, "", fmt.Errorf("artifact %q of %s: a layer media type and a config are required", artifactType, layer.Digest)
	}
	configBlob := NewBlob(RoleConfig, config)
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       descriptorOf(configMediaType, configBlob),
		Layers:       []ocispec.Descriptor{descriptorOf(layerMediaType, layer)},
	})
	if err != nil {
		return nil, "", fmt.Errorf("artifact %q of %s: %w", artifactType, layer.Digest, err)
	}
	manifestBlob := NewBlob(RoleManifest, manifest)
	return []Blob{manifestBlob, configBlob, layer}, manifestBlob.Digest, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return digestPrefix + hex.EncodeToString(sum[:])
}
