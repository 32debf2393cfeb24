package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/bundle/sbom"
	"airgap/internal/progress"
	"airgap/signing"
)

// leastSurveyed is how many layers are looked through at a time on few cores: one waits for its registry while another is decompressed.
// Where there are more cores, each has a layer.
const leastSurveyed = 4

// AttestOptions say which statements about a bundle are made.
type AttestOptions struct {
	Provenance bool
	SBOM       bool
	Signers    []*signing.PrivateKey
	Builder    string // URI of who builds; "" names the first signer's key

	// Where the bundle is going to be written, and its form: an SBOM's layers go there at once, where that can be.
	Output    string
	PartBytes int64 // likewise

	// Progress is told how many of the layers' bytes the SBOM has seen, never from two goroutines at once. May be nil.
	Progress func(done, total int64)
	Transfer func(label string, bytes int64) *progress.Transfer // as in [bundle.CreateOptions]
}

// Attest adds signed statements about the content to it. The same content, lock, key and tool give the same bytes.
//
// An SBOM needs the layers before the bundle can be signed. They are looked through as they come, on their way into a [bundle.Spool]: nothing is
// fetched twice, and [Gathered.Spool] is for the options with which the bundle is then created.
func (g *Gathered) Attest(ctx context.Context, o AttestOptions) error {
	m := &g.Content.Manifest
	var document *sbom.Document
	if o.SBOM {
		images, err := g.survey(ctx, o)
		if err != nil {
			return fmt.Errorf("SBOM: %w", err)
		}
		document = sbom.NewDocument(sbom.Subject{
			Name: m.Name, Version: m.Version, IssuedAt: m.IssuedAt, Tool: "airgap-" + g.options.AirgapVersion, Images: images,
		})
	}
	var predicates []bundle.Predicate
	if o.Provenance {
		predicate, err := g.provenance(o)
		if err != nil {
			return fmt.Errorf("provenance: %w", err)
		}
		predicates = append(predicates, bundle.Predicate{Type: bundle.ProvenanceType, Value: predicate})
	}
	if document != nil {
		predicates = append(predicates, bundle.Predicate{Type: bundle.SBOMType, Value: document})
	}
	return g.Content.AddAttestations(ctx, o.Signers, predicates...)
}

// Spool has the layers that Attest has fetched; nil if it has fetched none. Close closes it.
func (g *Gathered) Spool() *bundle.Spool { return g.spool }

// survey finds out what is in the images.
func (g *Gathered) survey(ctx context.Context, o AttestOptions) ([]sbom.Image, error) {
	blobs := make(map[string]*bundle.Blob, len(g.Content.Blobs)) // each by the first place that has it: that is where it is read
	for i := range g.Content.Blobs {
		if b := &g.Content.Blobs[i]; blobs[b.Digest] == nil {
			blobs[b.Digest] = b
		}
	}
	var err error
	g.spool, err = bundle.NewSpool(o.Output, g.Content, bundle.CreateOptions{PartBytes: o.PartBytes},
		func(digest string) bool { return g.distant[digest] && g.options.Cache == "" })
	if err != nil {
		return nil, err
	}
	s := &surveyor{spool: g.spool, layers: map[string]*sbom.Layer{}, progress: o.Progress, transfer: o.Transfer}
	var images []sbom.Image
	var layersOf [][]string
	for _, image := range g.Content.Manifest.Images {
		for _, p := range image.Platforms {
			layers, err := layerDigests(ctx, blobs[p.Digest])
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", image.Reference, err)
			}
			images = append(images, sbom.Image{Reference: image.Reference, Digest: p.Digest, Platform: p.Platform})
			layersOf = append(layersOf, layers)
			for _, layer := range layers {
				if _, again := s.layers[layer]; !again && blobs[layer] != nil {
					s.layers[layer] = nil
					s.order = append(s.order, blobs[layer])
				}
			}
		}
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	for i := range images {
		var layers []*sbom.Layer
		for _, digest := range layersOf[i] {
			if layer := s.layers[digest]; layer != nil {
				layers = append(layers, layer)
			}
		}
		images[i].Merge(layers)
	}
	return images, nil
}

// layerDigests are the layers of an image manifest, the base first.
func layerDigests(ctx context.Context, manifest *bundle.Blob) ([]string, error) {
	r, err := manifest.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var m ocispec.Manifest
	if err := json.NewDecoder(io.LimitReader(r, maxMetadataBytes)).Decode(&m); err != nil {
		return nil, err
	}
	var layers []string
	for _, layer := range m.Layers {
		layers = append(layers, layer.Digest.String())
	}
	return layers, nil
}

// surveyor looks through layers, several at a time.
type surveyor struct {
	spool *bundle.Spool
	order []*bundle.Blob

	mu          sync.Mutex
	layers      map[string]*sbom.Layer // by digest; nil: not looked through, or not what a layer must be
	done, total int64                  // bytes
	progress    func(done, total int64)
	transfer    func(label string, bytes int64) *progress.Transfer
}

func (s *surveyor) run(ctx context.Context) error {
	for _, b := range s.order {
		s.total += b.Size
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(leastSurveyed, runtime.GOMAXPROCS(0)))
	longestFirst := slices.SortedStableFunc(slices.Values(s.order), func(a, b *bundle.Blob) int { return cmp.Compare(b.Size, a.Size) })
	for _, b := range longestFirst { // none of them is left alone with one core at the end
		group.Go(func() error {
			if err := s.survey(ctx, b); err != nil {
				return fmt.Errorf("layer %s: %w", b.Digest, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// survey looks through a layer on its way into the spool, from which it is read from then on. One that has no room there is read again
// when the bundle is written, so that it is the same must be found here.
func (s *surveyor) survey(ctx context.Context, b *bundle.Blob) error {
	if spooled := s.spool.Layer(b.Digest); spooled != nil {
		if err := s.look(ctx, b, spooled); err != nil {
			return err
		}
		b.Open = spooled.Open
		return spooled.Close()
	}
	hash := sha256.New()
	if err := s.look(ctx, b, hash); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != b.Digest {
		return fmt.Errorf("%w: it has the digest %s", bundle.ErrDigest, got)
	}
	return nil
}

// look reads a layer to its end and finds out what is in it. All of it goes to w too.
func (s *surveyor) look(ctx context.Context, b *bundle.Blob, w io.Writer) error {
	body, err := b.Open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	source := &surveyed{r: io.LimitReader(contextReader{ctx, body}, b.Size), w: w, s: s}
	if s.transfer != nil {
		source.transfer = s.transfer(bundle.Entry{SHA256: hexOf(b.Digest), Role: b.Role}.Label(), b.Size)
	}
	defer source.transfer.End()
	layer, err := sbom.ReadLayer(source)
	if _, restErr := io.Copy(io.Discard, source); restErr != nil {
		return restErr
	}
	if source.err != nil {
		return source.err
	}
	if n, restErr := body.Read(make([]byte, 1)); n > 0 {
		return fmt.Errorf("%w: it has more than the declared %d bytes", bundle.ErrDigest, b.Size)
	} else if restErr != nil && restErr != io.EOF {
		return restErr
	}
	if err != nil {
		return nil // no layer that can be looked into: what is in it stays unknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layers[b.Digest] = layer
	return nil
}

// surveyed hands on what is read, and keeps the error that a parser of it might hide.
type surveyed struct {
	r   io.Reader
	w   io.Writer
	s   *surveyor
	err error

	transfer *progress.Transfer
}

func (r *surveyed) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(p)
	if _, writeErr := r.w.Write(p[:n]); writeErr != nil {
		r.err = writeErr
		return 0, writeErr
	}
	if err != nil && err != io.EOF {
		r.err = err
	}
	r.transfer.Add(int64(n))
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.done += int64(n); r.s.progress != nil {
		r.s.progress(r.s.done, r.s.total)
	}
	return n, err
}

// hexOf is a digest without its algorithm.
func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }
