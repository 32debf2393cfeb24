package source

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
	"airgap/internal/registryclient"
)

// wantedImage is an image on its way into the bundle: who wants it, then where it is, then what it is.
type wantedImage struct {
	reference string
	aliases   []string // further references of the same image
	node      string   // in airgap.yaml: "spec.images[0]"
	why       []Mention
	system    bool

	source    Reference // in a registry, if root and base are not there
	from      string    // what the lock calls the source
	root      ocispec.Descriptor
	store     store
	base      *base
	baseImage bundle.Image

	content   *expanded
	referrers []referrer // signatures, and what else is said about it
}

// nameExplicit finds the references of the entries of spec.images. For archives and layouts that means
// opening them.
func (g *gatherer) nameExplicit(ctx context.Context) error {
	for i, entry := range g.spec.Spec.Images {
		node := fmt.Sprintf("spec.images[%d]", i)
		image := &wantedImage{node: node, from: entry.Source, system: g.spec.Spec.System}
		image.why = []Mention{{Where: fmt.Sprintf("%s (%s)", node, g.spec.place(node))}}
		if err := g.locate(ctx, entry, image); err != nil {
			return fmt.Errorf("image %s (%s): %w", entry.Source, g.spec.place(node), err)
		}
		g.explicit = append(g.explicit, image)
	}
	return nil
}

// locate fills in where an entry's image is and what it is called.
func (g *gatherer) locate(ctx context.Context, entry Image, image *wantedImage) error {
	kind, file, selector := splitSource(entry.Source)
	name := entry.Name
	if kind == registrySource {
		ref, err := Normalize(file)
		if err != nil {
			return err
		}
		image.source, image.from = ref, ref.String()
		if name == "" {
			image.reference = ref.String()
			if ref.Tag != "" && ref.Digest != "" { // "this tag is this digest": both names lead to it
				image.aliases = []string{ref.Tagged()}
			}
			return nil
		}
	} else {
		t, err := g.openShared(ctx, g.spec.file(file))
		if err != nil {
			return err
		}
		var own string
		if kind == dockerArchiveSource {
			image.root, own, image.store, err = dockerArchive(ctx, t, selector)
		} else {
			image.root, own, err = layoutStore{t}.find(selector)
			image.store = layoutStore{t}
			if own == "" {
				own = nameFromPath(file, selector)
			}
		}
		if err != nil {
			return err
		}
		if name == "" {
			name = own
		}
	}
	if name == "" {
		return fmt.Errorf("has no name of its own: write {source: %q, name: \"registry/repository:tag\"}", entry.Source)
	}
	ref, err := Normalize(name)
	if err != nil {
		return fmt.Errorf("its name %q is not an image reference (%w): write {source: %q, name: \"registry/repository:tag\"}", name, err, entry.Source)
	}
	image.reference = ref.String()
	return nil
}

// openShared opens an archive once however many of its images are wanted.
func (g *gatherer) openShared(ctx context.Context, file string) (tree, error) {
	return g.shared.do(file, func() (tree, error) {
		t, err := openTree(ctx, file, g.options.TemporaryPath)
		if err == nil {
			g.trees = append(g.trees, t)
		}
		return t, err
	})
}

// nameFromPath is the reference of an image that its layout calls by a tag alone: oci:./out/app:1.2 is
// app:1.2.
func nameFromPath(file, tag string) string {
	if tag == "" {
		return ""
	}
	if strings.ContainsAny(tag, "/:") {
		return tag
	}
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name + ":" + tag
}

// lookUp reads the metadata of an image.
func (g *gatherer) lookUp(ctx context.Context, image *wantedImage) (err error) {
	switch {
	case image.content != nil:
		return nil
	case image.base != nil:
		image.content, err = image.base.image(ctx, image.baseImage, g.platforms)
		if err == nil {
			image.referrers, err = image.base.referrers(ctx, image)
		}
		if err != nil {
			return &FromError{image.base.path, fmt.Errorf("image %s: %w", image.reference, err)}
		}
		return nil
	case image.store == nil:
		err = g.findInRegistry(ctx, image)
	}
	if err == nil {
		image.content, err = expandImage(ctx, image.store, image.root, g.platforms)
	}
	if err == nil {
		err = g.findReferrers(ctx, image)
	}
	if err == nil {
		return nil
	}
	if image.why[0].Guessed {
		err = fmt.Errorf("%w\n(that field only looks like an image; if it is none, add %q to spec.ignoreImages)", err, image.reference)
	}
	return fmt.Errorf("image %s, named by %s: %w", image.reference, image.why[0].Where, err)
}

// findInRegistry finds the root of an image: the digest it is locked to, or what its tag means now.
func (g *gatherer) findInRegistry(ctx context.Context, image *wantedImage) (err error) {
	ref, locked := image.source, ""
	if ref.Digest == "" {
		locked = g.options.Lock.image(image.from)
		ref.Digest = locked
	}
	image.root, image.store, err = g.registries.root(ctx, ref)
	if locked != "" && errors.Is(err, registryclient.ErrNotFound) {
		return fmt.Errorf("airgap.lock holds it to %s, which the registry has no longer; `airgap build --update` takes what %s means now: %w",
			locked, ref.Tagged(), err)
	}
	return err
}

// add enters an image and its aliases, once it is looked up.
func (g *gatherer) add(image *wantedImage) error {
	for _, reference := range append([]string{image.reference}, image.aliases...) {
		other, ok := g.images[reference]
		if !ok {
			named := *image
			named.reference = reference
			g.images[reference] = &named
			continue
		}
		if other.content.root.Digest != image.content.root.Digest {
			return fmt.Errorf("image %s is named twice with different content: %s is %s, %s is %s", reference,
				other.why[0].Where, other.content.root.Digest, image.why[0].Where, image.content.root.Digest)
		}
		other.why = append(other.why, image.why...)
	}
	return nil
}

// nameFound merges the images found in charts and manifests with those there are, the sure ones first. Those still to be
// fetched are appended to fetch; with nil, explicit images are not looked up yet and are entered by name.
func (g *gatherer) nameFound(fetch *[]*wantedImage) error {
	if fetch == nil {
		for _, image := range g.explicit {
			for _, reference := range append([]string{image.reference}, image.aliases...) {
				g.mention(g.images, reference, image.why...)
			}
		}
	}
	slices.SortStableFunc(g.found.images, func(a, b named) int {
		switch {
		case a.optional == b.optional:
			return 0
		case b.optional:
			return -1
		}
		return 1
	})
	for _, found := range g.found.images {
		ref, err := Normalize(found.reference)
		if err != nil {
			return fmt.Errorf("%s: %q is not an image reference: %w", found.Where, found.reference, err)
		}
		reference := ref.String()
		if g.ignored(reference) || g.ignored(found.reference) {
			continue
		}
		_, there := g.images[reference]
		switch {
		case !there && found.optional:
			g.mention(g.optional, reference, found.Mention)
			continue
		case there || fetch == nil:
			g.mention(g.images, reference, found.Mention)
			continue
		}
		image := &wantedImage{reference: reference, why: []Mention{found.Mention}, source: ref, from: reference, system: g.spec.Spec.System}
		if same := g.withDigest(ref.Digest); same != nil { // pinned, and here under another name
			image.content, image.system, image.referrers = same.content, same.system, same.referrers
		}
		g.images[reference] = image
		*fetch = append(*fetch, image)
	}
	return nil
}

// mention notes one more place that names an image. A sure one goes before guesses.
func (g *gatherer) mention(images map[string]*wantedImage, reference string, why ...Mention) {
	image, ok := images[reference]
	if !ok {
		image = &wantedImage{reference: reference}
		images[reference] = image
	}
	for _, m := range why {
		at := len(image.why)
		for at > 0 && !m.Guessed && image.why[at-1].Guessed {
			at--
		}
		image.why = append(image.why[:at], append([]Mention{m}, image.why[at:]...)...)
	}
}

// withDigest finds an image by its digest.
func (g *gatherer) withDigest(digest string) *wantedImage {
	if digest == "" {
		return nil
	}
	for _, image := range g.sortedImages() {
		if image.content != nil && image.content.root.Digest.String() == digest {
			return image
		}
	}
	return nil
}

// ignored says whether spec.ignoreImages has a reference.
func (g *gatherer) ignored(reference string) bool {
	return matchesAny(g.spec.Spec.IgnoreImages, reference)
}

// matchesAny says whether one of patterns is the reference. A * there matches any text, slashes too.
func matchesAny(patterns []string, reference string) bool {
	for _, pattern := range patterns {
		expression := "^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + "$"
		if matched, err := regexp.MatchString(expression, reference); err == nil && matched {
			return true
		}
	}
	return false
}
