package registry

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Standing is what a reference stood for at some time, so that it can stand for it again.
type Standing struct {
	Name   string             `json:"name"`   // in full: "docker.io/library/nginx:1.29"
	Target ocispec.Descriptor `json:"target"` // without a digest: the reference was not known
	Labels map[string]string  `json:"labels,omitempty"`
}

// Standings returns what references stand for now, in their order. The store is containerd's, running or not ([Store.Standings]).
func Standings(ctx context.Context, store images.Store, names []string) ([]Standing, error) {
	var all []Standing
	for _, name := range names {
		parsed, err := parseName(name)
		if err != nil {
			return nil, err
		}
		standing := Standing{Name: parsed.full}
		image, err := store.Get(inNamespace(ctx), parsed.full)
		switch {
		case err == nil:
			standing.Target, standing.Labels = image.Target, image.Labels
		case !errdefs.IsNotFound(err):
			return nil, fmt.Errorf("image %s: %w", parsed.full, err)
		}
		all = append(all, standing)
	}
	return all, nil
}

// Standings is the function [Standings] on a store that containerd does not have open.
func (s *Store) Standings(ctx context.Context, names []string) ([]Standing, error) {
	return Standings(ctx, s.images, names)
}

// PutBack makes references stand for what they stood for, in one transaction, and removes those that were not known then, with
// what CRI keeps beside what they stand for now; then what nothing refers to any more goes. It may be repeated.
func (s *Store) PutBack(ctx context.Context, all []Standing) error {
	ctx = inNamespace(ctx)
	err := s.update(ctx, func(ctx context.Context) error {
		removed, left := map[string]bool{}, map[digest.Digest]bool{}
		for _, standing := range all {
			if standing.Target.Digest == "" {
				removed[standing.Name] = true
				continue
			}
			record := images.Image{Name: standing.Name, Target: standing.Target, Labels: standing.Labels}
			now, err := s.images.Get(ctx, standing.Name)
			if err == nil {
				left[now.Target.Digest] = now.Target.Digest != standing.Target.Digest
				_, err = s.images.Update(ctx, record)
			}
			if errdefs.IsNotFound(err) {
				_, err = s.images.Create(ctx, record)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", standing.Name, err)
			}
		}
		known, err := s.images.List(ctx)
		if err != nil {
			return err
		}
		for _, name := range dependentsOf(known, removed, left) {
			if err := s.images.Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("put images back: %w", err)
	}
	return s.collect(ctx)
}
