package registry

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
)

// Pin sets the label that keeps images from the kubelet's garbage collection on the images with
// the given references, under every name that they have, and returns the references that
// store does not know. The store is containerd's, running (client.ImageService()) or not
// ([Store.Pin]). What is pinned already is not written again. A node does this at each start, for
// containerd forgets the label when something pulls or tags the image anew.
func Pin(ctx context.Context, store images.Store, names []string) (missing []string, err error) {
	ctx = inNamespace(ctx)
	all, err := store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("pin images: %w", err)
	}
	targets := map[string]digest.Digest{}
	for _, image := range all {
		targets[image.Name] = image.Target.Digest
	}
	pinned := map[digest.Digest]bool{}
	for _, name := range names {
		parsed, err := parseName(name)
		if err != nil {
			return nil, fmt.Errorf("pin image: %w", err)
		}
		target, known := targets[parsed.full]
		if !known {
			missing = append(missing, name)
			continue
		}
		pinned[target] = true
	}
	for _, image := range all {
		if !pinned[image.Target.Digest] || image.Labels[LabelPinned] == Pinned {
			continue
		}
		update := images.Image{Name: image.Name, Labels: map[string]string{LabelPinned: Pinned}}
		if _, err := store.Update(ctx, update, "labels."+LabelPinned); err != nil {
			return missing, fmt.Errorf("pin image %s: %w", image.Name, err)
		}
	}
	return missing, nil
}

// Pin is the function [Pin] on a store that containerd does not have open.
func (s *Store) Pin(ctx context.Context, names []string) (missing []string, err error) {
	return Pin(ctx, s.images, names)
}
