package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Labels of image names that containerd's CRI reads (internal/cri/labels).
const (
	LabelManaged = labels.CRIContainerdPrefix + ".image"
	Managed      = "managed"
	LabelPinned  = labels.CRIContainerdPrefix + ".pinned" // kept by the kubelet's garbage collection
	Pinned       = "pinned"
)

// Labels of blobs.
const (
	labelSnapshotRef = "containerd.io/gc.ref.snapshot." + snapshotterName // on a config: its top snapshot
	// maxLabelBytes is containerd's limit of a label's key and value together (pkg/labels).
	maxLabelBytes = 4096
)

// imageName is a parsed reference of an image.
type imageName struct {
	full   string // as containerd names it: "docker.io/library/nginx:1.29"
	host   string // "docker.io", without a port, as in containerd's source labels
	path   string // "library/nginx"
	repo   string // "docker.io/library/nginx"
	digest digest.Digest
}

// parseName reads a reference the way CRI does: what it lacks is filled in
// (docker.io, library, :latest), and of tag and digest the digest wins.
func parseName(name string) (imageName, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return imageName{}, fmt.Errorf("image reference %q: %w", name, err)
	}
	host, _, _ := strings.Cut(reference.Domain(named), ":")
	n := imageName{full: named.String(), host: host, path: reference.Path(named), repo: named.Name()}
	if digested, ok := named.(reference.Digested); ok {
		n.digest = digested.Digest()
	}
	return n, nil
}

// recordNames returns every name under which CRI keeps an image that it pulled by the given
// names: each name itself, each repository with the digest, and the image's ID,
// which is the digest of its configuration (empty for an artifact, which has no ID).
func recordNames(names []imageName, target, config digest.Digest) []string {
	set := map[string]bool{}
	for _, name := range names {
		set[name.full] = true
		set[name.repo+"@"+target.String()] = true
	}
	if config != "" {
		set[config.String()] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// sources maps a host to the repositories on it that a blob belongs to.
type sources map[string]map[string]bool

func (s sources) add(names []imageName) {
	for _, name := range names {
		if s[name.host] == nil {
			s[name.host] = map[string]bool{}
		}
		s[name.host][name.path] = true
	}
}

// labels adds the containerd.io/distribution.source labels to what a blob has already. Peers find by
// them which repository serves a blob. Repositories beyond a label's length are left out.
func (s sources) labels(existing, into map[string]string) {
	for host, repositories := range s {
		key := labels.LabelDistributionSource + "." + host
		all := maps.Clone(repositories)
		for repository := range strings.SplitSeq(existing[key], ",") {
			if repository != "" {
				all[repository] = true
			}
		}
		var value strings.Builder
		for _, repository := range slices.Sorted(maps.Keys(all)) {
			if len(key)+value.Len()+1+len(repository) > maxLabelBytes {
				break
			}
			if value.Len() > 0 {
				value.WriteByte(',')
			}
			value.WriteString(repository)
		}
		into[key] = value.String()
	}
}
