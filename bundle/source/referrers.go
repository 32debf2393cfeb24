package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/internal/registryclient"
)

// signatureTypes begin the artifact types of the referrers that travel along: Sigstore bundles, cosign's before those, and Notation's
// signatures. Others (SBOMs, indexes for lazy loading) may be as large as images, and nothing at a site asks for them.
var signatureTypes = []string{
	"application/vnd.dev.sigstore.bundle",
	"application/vnd.dev.cosign.artifact.sig.",
	"application/vnd.dev.cosign.artifact.att.",
	"application/vnd.cncf.notary.signature",
}

// referrer is what a registry has about an image: a manifest whose layers are signatures or signed statements.
type referrer struct {
	suffix   string // of its reference, after the repository: ":sha256-<hex>.sig", "@sha256:<hex>"
	subject  digest.Digest
	root     ocispec.Descriptor
	data     []byte // the manifest
	manifest ocispec.Manifest
	store    store
}

// isUntold says whether a list of referrers leaves open what one is: some registries and clients repeat the type of its config.
func isUntold(artifactType string) bool {
	return artifactType == "" || artifactType == ocispec.MediaTypeEmptyJSON || artifactType == ocispec.MediaTypeImageConfig
}

// artifactType is what a manifest says that it is.
func (r *referrer) artifactType() string {
	if r.manifest.ArtifactType != "" {
		return r.manifest.ArtifactType
	}
	return r.manifest.Config.MediaType
}

// isSignature says whether an artifact type is of those that travel along.
func isSignature(artifactType string) bool {
	return slices.ContainsFunc(signatureTypes, func(prefix string) bool { return strings.HasPrefix(artifactType, prefix) })
}

// findReferrers finds the signatures of an image that comes from a registry: those that the lock names if it holds the image, else
// those that there are now.
func (g *gatherer) findReferrers(ctx context.Context, image *wantedImage) error {
	repository := image.source.Repository
	if repository == "" {
		return nil
	}
	root := image.content.root.Digest
	subjects := []digest.Digest{root}
	for _, p := range image.content.platforms {
		if d := digest.Digest(p.Digest); !slices.Contains(subjects, d) {
			subjects = append(subjects, d)
		}
	}
	if g.options.Lock.image(image.from) != "" {
		return g.lockedReferrers(ctx, image, subjects)
	}
	for _, subject := range subjects {
		found, err := g.registries.referrers(ctx, repository, subject)
		if err != nil {
			return fmt.Errorf("its signatures: %w", err)
		}
		image.referrers = append(image.referrers, found...)
		if len(image.referrers) == 0 {
			break // who signs the image of each platform signs the index too
		}
	}
	return nil
}

// lockedReferrers fetches the signatures that the lock names and that are about one of subjects.
func (g *gatherer) lockedReferrers(ctx context.Context, image *wantedImage, subjects []digest.Digest) error {
	for _, locked := range g.options.Lock.Referrers {
		suffix, ok := strings.CutPrefix(locked.Source, image.source.Repository)
		if !ok || !strings.HasPrefix(suffix, ":") && !strings.HasPrefix(suffix, "@") {
			continue
		}
		at := slices.IndexFunc(subjects, func(d digest.Digest) bool { return isTagOf(suffix, d) })
		if at < 0 && suffix[0] == ':' {
			continue // about another image
		}
		found, err := g.registries.referrer(ctx, Reference{Repository: image.source.Repository, Digest: locked.Digest})
		if errors.Is(err, registryclient.ErrNotFound) {
			return fmt.Errorf("airgap.lock names its signature %s, which the registry has no longer; `airgap build --update` takes what there is now: %w", locked.Source, err)
		} else if err != nil {
			return fmt.Errorf("its signature %s: %w", locked.Source, err)
		}
		found.suffix = suffix
		switch {
		case at >= 0:
			found.subject = subjects[at]
		case found.manifest.Subject != nil && slices.Contains(subjects, found.manifest.Subject.Digest):
			found.subject = found.manifest.Subject.Digest
		default:
			continue
		}
		image.referrers = append(image.referrers, *found)
	}
	return nil
}

// isTagOf says whether the end of a reference is a tag by which cosign keeps what is about d.
func isTagOf(suffix string, d digest.Digest) bool {
	return slices.ContainsFunc(bundle.SignatureTags, func(ending string) bool { return suffix == ":"+bundle.SignatureTag(d.String(), ending) })
}

// referrers asks a registry for what it has about a digest: by cosign's tags, and by the OCI's list of referrers, each of which a
// registry may lack.
func (r *registries) referrers(ctx context.Context, repository string, subject digest.Digest) ([]referrer, error) {
	found := make([][]referrer, len(bundle.SignatureTags)+1)
	group, ctx := errgroup.WithContext(ctx)
	for i, ending := range bundle.SignatureTags {
		group.Go(func() error {
			tag := bundle.SignatureTag(subject.String(), ending)
			one, err := r.referrer(ctx, Reference{Repository: repository, Tag: tag})
			if isAbsent(err) || errors.Is(err, errNoSignatures) {
				return nil
			} else if err != nil {
				return err
			}
			one.suffix, one.subject = ":"+tag, subject
			found[i] = []referrer{*one}
			return nil
		})
	}
	group.Go(func() (err error) {
		found[len(bundle.SignatureTags)], err = r.listed(ctx, repository, subject)
		return err
	})
	err := group.Wait()
	return slices.Concat(found...), err
}

// listed are the signatures in the registry's list of referrers.
func (r *registries) listed(ctx context.Context, repository string, subject digest.Digest) ([]referrer, error) {
	ref := Reference{Repository: repository, Digest: subject.String()}
	parsed, err := ref.named()
	if err != nil {
		return nil, err
	}
	index, err := remote.Referrers(parsed.Context().Digest(ref.Digest), remote.Reuse(r.puller), remote.WithContext(ctx))
	if err != nil {
		if err = explain(parsed.Context(), err); isAbsent(err) {
			return nil, nil
		}
		return nil, err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []referrer
	for _, d := range list.Manifests {
		if !isSignature(d.ArtifactType) && !isUntold(d.ArtifactType) {
			continue
		}
		ref.Digest = d.Digest.String()
		one, err := r.referrer(ctx, ref)
		if err != nil {
			return nil, err
		}
		if !isSignature(one.artifactType()) {
			continue
		}
		if one.manifest.Subject == nil || one.manifest.Subject.Digest != subject {
			return nil, fmt.Errorf("%s lists %s among what is about %s, and it is not", repository, d.Digest, subject)
		}
		one.suffix, one.subject = "@"+ref.Digest, subject
		found = append(found, *one)
	}
	slices.SortFunc(found, func(a, b referrer) int { return strings.Compare(a.suffix, b.suffix) })
	return found, nil
}

// isAbsent says whether a registry's answer means that it has no such thing. Some say that of a tag that they have not by
// refusing it, and of a kind of request that they do not know by any error of the client.
func isAbsent(err error) bool {
	var answer *transport.Error
	return errors.Is(err, registryclient.ErrNotFound) || errors.As(err, &answer) && answer.StatusCode >= 400 && answer.StatusCode < 500 &&
		answer.StatusCode != http.StatusRequestTimeout && answer.StatusCode != http.StatusTooManyRequests
}

// referrer fetches one manifest.
func (r *registries) referrer(ctx context.Context, ref Reference) (*referrer, error) {
	root, from, err := r.root(ctx, ref)
	if err != nil {
		return nil, err
	}
	return readReferrer(ctx, from, root)
}

// errNoSignatures says that something is no manifest, and so no list of signatures, whatever its name.
var errNoSignatures = errors.New("is no manifest of signatures")

// readReferrer reads the manifest of a referrer from a store.
func readReferrer(ctx context.Context, from store, root ocispec.Descriptor) (*referrer, error) {
	if root.MediaType != ocispec.MediaTypeImageManifest && root.MediaType != dockerManifest {
		return nil, fmt.Errorf("%s %w: it is of type %q", root.Digest, errNoSignatures, root.MediaType)
	}
	one := &referrer{root: root, store: from}
	var err error
	if one.data, err = readManifest(ctx, from, root); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(one.data, &one.manifest); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", root.Digest, err)
	}
	for _, d := range append(slices.Clone(one.manifest.Layers), one.manifest.Config) {
		if d.Digest.Algorithm() != digest.SHA256 || d.Digest.Validate() != nil {
			return nil, fmt.Errorf("manifest %s: %q is not a sha256 digest, which is what bundles have", root.Digest, d.Digest)
		}
	}
	return one, nil
}

// blobs are what the bundle carries of it.
func (r referrer) blobs() []bundle.Blob {
	list := []bundle.Blob{bundle.NewBlob(bundle.RoleManifest, r.data), storedBlob(r.store, r.manifest.Config, bundle.RoleConfig)}
	for _, layer := range r.manifest.Layers {
		list = append(list, storedBlob(r.store, layer, bundle.RoleSignature))
	}
	return list
}

// addReferrers enters what is about an image into the bundle, under the image's own repository: there a client will ask for it.
func (g *gatherer) addReferrers(image *wantedImage) error {
	ref, err := Normalize(image.reference)
	if err != nil {
		return err
	}
	m := &g.content.Manifest
	for _, r := range image.referrers {
		entry := bundle.Referrer{
			Reference: ref.Repository + r.suffix, Subject: r.subject.String(),
			Digest: r.root.Digest.String(), MediaType: r.root.MediaType, Size: r.root.Size,
		}
		if !slices.Contains(m.Referrers, entry) {
			m.Referrers = append(m.Referrers, entry)
			g.content.Blobs = append(g.content.Blobs, r.blobs()...)
		}
		if image.from != "" && image.source.Repository != "" {
			g.lock.Referrers = append(g.lock.Referrers, Locked{image.source.Repository + r.suffix, entry.Digest})
		}
	}
	return nil
}
