package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Reference is a fully qualified image reference, taken apart. At least one of Tag and
// Digest is there.
type Reference struct {
	Repository string // "docker.io/library/nginx"
	Tag        string // "1.29"
	Digest     string // "sha256:…"
}

// Normalize reads an image reference as Docker and containerd do: no registry is
// docker.io, no folder there is library, neither tag nor digest is latest.
func Normalize(text string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return Reference{}, err
	}
	r := Reference{Repository: named.Name()}
	if digested, ok := named.(reference.Digested); ok {
		if digested.Digest().Algorithm() != digest.SHA256 {
			return Reference{}, fmt.Errorf("its digest is not a sha256")
		}
		r.Digest = digested.Digest().String()
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		r.Tag = tagged.Tag()
	}
	return r, nil
}

// String is the reference under which containerd knows the image: a digest, where there
// is one, makes the tag void (as ParseDockerRef in github.com/distribution/reference).
func (r Reference) String() string {
	if r.Digest != "" {
		return r.Repository + "@" + r.Digest
	}
	return r.Tagged()
}

// Tagged is the reference by tag alone.
func (r Reference) Tagged() string { return r.Repository + ":" + r.Tag }

// The kinds of source that an entry of spec.images may name.
const (
	registrySource      = "registry"
	layoutSource        = "oci"
	layoutArchiveSource = "oci-archive"
	dockerArchiveSource = "docker-archive"
)

// dockerScheme may stand before a registry's image, as skopeo writes it.
const dockerScheme = "docker://"

// splitSource takes an entry of spec.images apart: "oci:./out/app:latest" is oci, "./out/app",
// "latest". For a registry, path is the reference.
func splitSource(text string) (kind, path, selector string) {
	text = strings.TrimPrefix(text, dockerScheme)
	kind, rest, found := strings.Cut(text, ":")
	if !found || !slices.Contains([]string{layoutSource, layoutArchiveSource, dockerArchiveSource}, kind) {
		return registrySource, text, ""
	}
	path, selector, _ = strings.Cut(rest, ":")
	return kind, path, selector
}

// parsePlatform brings "linux/arm64/v8" and "linux/arm64" to the one spelling "linux/arm64".
func parsePlatform(text string) (string, error) {
	if strings.Count(text, "/") < 1 {
		return text, fmt.Errorf("%q has no architecture", text)
	}
	platform, err := platforms.Parse(text)
	if err != nil {
		return text, err
	}
	return platforms.Format(platforms.Normalize(platform)), nil
}

// platformName is the spelling of a platform in a bundle.
func platformName(platform ocispec.Platform) string { return platforms.Format(bare(platform)) }

// bare is a platform in its normal spelling, without the version of the system, which bundles do not tell apart.
func bare(platform ocispec.Platform) ocispec.Platform {
	platform.OSVersion, platform.OSFeatures = "", nil
	return platforms.Normalize(platform)
}
