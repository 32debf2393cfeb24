// Package cosigntest makes what a registry has about a signed image, for tests that must not depend on cosign itself:
// its signatures in tags (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md), and referrers.
package cosigntest

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Payload is what cosign signs to say that the image with a digest is signed.
func Payload(digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
}

// Attached is what stands in the tag sha256-<hex>.sig: a payload with its signature in base64.
func Attached(payload []byte, signature string) (v1.Image, error) {
	const mediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	return mutate.Append(base, mutate.Addendum{
		Layer: static.NewLayer(payload, mediaType), MediaType: mediaType,
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": signature},
	})
}

// Referrer is an artifact of the given type about an image. Its one layer has the content.
func Referrer(about v1.Descriptor, artifactType string, content []byte) (v1.Image, error) {
	kind := types.MediaType(artifactType)
	artifact, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), kind), static.NewLayer(content, kind))
	if err != nil {
		return nil, err
	}
	subject := v1.Descriptor{MediaType: about.MediaType, Digest: about.Digest, Size: about.Size}
	return mutate.Subject(artifact, subject).(v1.Image), nil
}
