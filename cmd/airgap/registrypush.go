//go:build !desk

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/spf13/cobra"
)

// refNameAnnotation names an image in an OCI layout (image-spec, annotations.md).
const refNameAnnotation = "org.opencontainers.image.ref.name"

func newRegistryPushCommand(e *env) *cobra.Command {
	var at serverAt
	cmd := &cobra.Command{
		Use:   "push oci:DIR[:REF]|docker-archive:FILE[:REF] NAME:TAG",
		Short: "Push an image from a folder or a file",
		Long: `Push an image from a folder or a file: an OCI layout, or what docker save or podman save wrote. REF says which image, where
there are several.`,
		Example: `  airgap registry push docker-archive:app.tar team/app:1
  airgap registry push oci:./out:latest team/app:1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.pushImage(cmd.Context(), &at, args[0], args[1])
		},
	}
	at.add(cmd)
	return cmd
}

func (e *env) pushImage(ctx context.Context, at *serverAt, from, to string) error {
	reference, err := ownReference(to)
	if err != nil {
		return err
	}
	image, err := openImage(from)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	options, err := at.registry(ctx)
	if err != nil {
		return err
	}
	switch image := image.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(reference, image, options...)
	case v1.Image:
		err = remote.Write(reference, image, options...)
	}
	if err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	fmt.Fprintf(e.stdout, "pushed %s@%s\n", reference.Name(), digest)
	return nil
}

// described is an image or an index of several.
type described interface{ Digest() (v1.Hash, error) }

// openImage opens what an argument names.
func openImage(text string) (described, error) {
	kind, rest, _ := strings.Cut(text, ":")
	path, ref, _ := strings.Cut(rest, ":")
	switch {
	case path == "":
	case kind == "oci":
		return imageInLayout(path, ref)
	case kind == "docker-archive":
		return imageInArchive(path, ref)
	}
	return nil, &usageError{fmt.Errorf("%q: want oci:DIR[:REF] or docker-archive:FILE[:REF]", text)}
}

func imageInArchive(path, ref string) (described, error) {
	var tag *name.Tag
	if ref != "" {
		parsed, err := name.NewTag(ref)
		if err != nil {
			return nil, &usageError{err}
		}
		tag = &parsed
	}
	image, err := tarball.ImageFromPath(path, tag)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return image, nil
}

func imageInLayout(path, ref string) (described, error) {
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	list := manifest.Manifests
	if ref != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(d v1.Descriptor) bool { return d.Annotations[refNameAnnotation] != ref })
	}
	if len(list) != 1 {
		var names []string
		for _, d := range manifest.Manifests {
			names = append(names, d.Annotations[refNameAnnotation])
		}
		return nil, withHint(&usageError{fmt.Errorf("%s has %d images that could be meant", path, len(list))}, "name one of them: oci:%s:REF, with REF of %s", path, strings.Join(names, ", "))
	}
	switch {
	case list[0].MediaType.IsIndex():
		return index.ImageIndex(list[0].Digest)
	case list[0].MediaType.IsImage():
		return index.Image(list[0].Digest)
	}
	return nil, errors.New(path + ": " + string(list[0].MediaType) + " is no image")
}
