package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Images returns every image record of the store, sorted by name: tags, digest references and IDs
// alike, as containerd has them.
func (s *Store) Images(ctx context.Context) ([]images.Image, error) {
	list, err := s.images.List(inNamespace(ctx))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return list, nil
}

// RemoveImages removes the images with the given references, then the blobs and snapshots
// that no other image needs. The records that CRI keeps beside a tag (the repository with the digest, the ID)
// go with the last tag that needs them. References that the store does not have are no error.
func (s *Store) RemoveImages(ctx context.Context, names ...string) error {
	ctx = inNamespace(ctx)
	removed := map[string]bool{}
	for _, name := range names {
		parsed, err := parseName(name)
		if err != nil {
			return fmt.Errorf("remove image: %w", err)
		}
		removed[parsed.full] = true
	}
	err := s.update(ctx, func(ctx context.Context) error {
		all, err := s.images.List(ctx)
		if err != nil {
			return err
		}
		for _, name := range dependents(all, removed) {
			if err := s.images.Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove images: %w", err)
	}
	return s.collect(ctx)
}

// dependents returns the names to remove when those in removed go: them, and records of the same
// targets that no remaining tag accounts for.
func dependents(all []images.Image, removed map[string]bool) []string {
	return dependentsOf(all, removed, map[digest.Digest]bool{})
}

// dependentsOf is dependents, where targets are further ones that a name has ceased to stand for.
func dependentsOf(all []images.Image, removed map[string]bool, targets map[digest.Digest]bool) []string {
	for _, image := range all {
		if removed[image.Name] {
			targets[image.Target.Digest] = true
		}
	}
	keptRepositories := map[string]bool{} // "<repository>@<digest>" of a tag that stays
	keptTargets := map[digest.Digest]bool{}
	for _, image := range all {
		if removed[image.Name] || !targets[image.Target.Digest] || strings.HasPrefix(image.Name, "sha256:") {
			continue
		}
		if name, err := parseName(image.Name); err == nil && name.digest == "" {
			keptRepositories[name.repo+"@"+image.Target.Digest.String()] = true
			keptTargets[image.Target.Digest] = true
		}
	}
	var names []string
	for _, image := range all {
		switch {
		case removed[image.Name]:
		case !targets[image.Target.Digest]:
			continue
		case strings.HasPrefix(image.Name, "sha256:"):
			if keptTargets[image.Target.Digest] {
				continue
			}
		default:
			name, err := parseName(image.Name)
			if err != nil || name.digest == "" || keptRepositories[image.Name] {
				continue
			}
		}
		names = append(names, image.Name)
	}
	slices.Sort(names)
	return names
}
