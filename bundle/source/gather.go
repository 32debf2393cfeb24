package source

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/internal/progress"
)

// defaultConcurrency is how many images are looked up at a time: enough to hide a registry's latency.
const defaultConcurrency = 8

// Options are what a build needs beside its airgap.yaml.
type Options struct {
	Platforms     []string         // instead of spec.platforms; nil takes those, or this machine's
	SystemBundle  string           // path of the bundle that a missing spec.from means
	Trust         bundle.Trust     // who must have signed the bundles of spec.from
	Lock          *Lock            // digests to keep to; nil takes everything as it is now
	Locked        bool             // fail with a [*DriftError] if the bundle would not be the one that Lock describes
	IssuedAt      time.Time        // instead of the lock's or the present time, unless zero
	Now           func() time.Time // nil is time.Now
	Concurrency   int              // images looked up at a time; 0 is 8
	TemporaryPath string           // folder for expanded archives and for bundles of spec.from that come in order alone; "" is the system's
	Cache         string           // folder that keeps what comes from registries; "" keeps nothing

	// Progress is told how much of a bundle of spec.from that does not lie here has been fetched. May be nil.
	Progress func(done, total int64)
	Transfer func(label string, bytes int64) *progress.Transfer // as in [bundle.CreateOptions]

	// Notice is told, in a sentence each, of images that the build cannot look for. May be nil.
	Notice func(text string)

	AirgapVersion     string // of distributions that do not say theirs
	KubernetesVersion string // "v1.37.1": likewise, and what charts are rendered for
}

// Found is an image and every place that names it. One that is only hinted at, in what a program is told or what other values
// of a chart would use, is not carried unless spec.images lists it.
type Found struct {
	Reference string    `json:"reference"`
	Carried   bool      `json:"carried"`
	Why       []Mention `json:"why"`
}

// Gathered is what a bundle is to be made of. It holds files open until Close.
type Gathered struct {
	Content bundle.Content
	Lock    *Lock   // to write when the bundle is there
	Images  []Found // sorted by reference; those not carried as well

	Verified []VerifiedImage // by spec.verifyImages, sorted by reference

	trees   []tree
	spec    *Spec
	options Options
	distant map[string]bool // digests of the layers that are fetched anew each time they are opened
	spool   *bundle.Spool   // what Attest has fetched; nil: nothing
}

// Close closes what the content reads from: archives, and the spool unless a bundle was made of it.
func (g *Gathered) Close() error {
	var errs []error
	for _, t := range g.trees {
		errs = append(errs, t.close())
	}
	g.trees = nil
	if g.spool != nil {
		errs = append(errs, g.spool.Close())
	}
	return errors.Join(errs...)
}

// VerifiedImage is an image that is signed as a rule of spec.verifyImages wants.
type VerifiedImage struct {
	Reference string `json:"reference"`
	Rule      string `json:"rule"`   // "spec.verifyImages[0]"
	Signer    string `json:"signer"` // ID of a key, or subject and issuer
}

// gatherer is the state of one Gather or FindImages.
type gatherer struct {
	spec       *Spec
	options    Options
	platforms  []string
	registries *registries
	shared     once[string, tree] // archives by path

	bases    []*base
	explicit []*wantedImage // spec.images, in order
	entries  []chartEntry   // of spec.charts
	found    findings       // in charts and manifests, in order
	images   map[string]*wantedImage
	optional map[string]*wantedImage // hinted at, and not carried
	content  bundle.Content
	lock     Lock
	verified []VerifiedImage
	distant  map[string]bool // see Gathered
	trees    []tree
}

func newGatherer(spec *Spec, options Options) (*gatherer, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Concurrency < 1 {
		options.Concurrency = defaultConcurrency
	}
	g := &gatherer{
		spec: spec, options: options,
		images: map[string]*wantedImage{}, optional: map[string]*wantedImage{}, distant: map[string]bool{},
	}
	var err error
	if g.platforms, err = spec.Platforms(options.Platforms); err != nil {
		return nil, err
	}
	g.registries, err = newRegistries(options.Cache)
	return g, err
}

// FindImages lists the images that spec.images, the charts and the manifests name or hint at, without
// fetching any. It does not look into spec.from.
func FindImages(ctx context.Context, spec *Spec, options Options) ([]Found, error) {
	g, err := newGatherer(spec, options)
	if err != nil {
		return nil, err
	}
	defer func() { (&Gathered{trees: g.trees}).Close() }()
	if err := g.nameExplicit(ctx); err != nil {
		return nil, err
	}
	if err := g.localContent(ctx); err != nil {
		return nil, err
	}
	if err := g.nameFound(nil); err != nil {
		return nil, err
	}
	return g.report(), nil
}

// Gather makes a spec into the content of a bundle. Nothing big is read: see the package comment.
func Gather(ctx context.Context, spec *Spec, options Options) (_ *Gathered, err error) {
	g, err := newGatherer(spec, options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			(&Gathered{trees: g.trees}).Close()
		}
	}()
	for _, step := range []func(context.Context) error{
		g.openBases, g.distributions, g.takeOverBases, g.nameExplicit, g.localContent, g.resolveImages, g.verifyImages,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if err := g.finish(); err != nil {
		return nil, err
	}
	if options.Locked {
		if differences := drift(options.Lock, &g.lock); len(differences) > 0 {
			return nil, &DriftError{differences}
		}
	}
	return &Gathered{Content: g.content, Lock: &g.lock, Images: g.report(), Verified: g.verified, trees: g.trees, spec: spec, options: g.options, distant: g.distant}, nil
}

// openBases verifies and opens the bundles of spec.from.
func (g *gatherer) openBases(ctx context.Context) error {
	paths := []string{}
	for _, from := range g.spec.Spec.From {
		if media.IsPath(from) || from == media.Stdin { // which is a file of that name: airgap.yaml cannot speak for a terminal
			from = g.spec.file(from)
		}
		paths = append(paths, from)
	}
	if g.spec.Spec.From == nil {
		paths = append(paths, g.options.SystemBundle)
	}
	for i, p := range paths {
		b, err := g.openBase(ctx, p)
		if err != nil {
			return err
		}
		g.bases = append(g.bases, b)
		g.trees = append(g.trees, b.layout.tree)
		data, err := json.Marshal(b.manifest)
		if err != nil {
			return err
		}
		name := path.Base(p)
		if g.spec.Spec.From != nil {
			name = g.spec.Spec.From[i]
		}
		g.lock.From = append(g.lock.From, Locked{name, digestOf(data)})
	}
	return nil
}

// resolveImages looks every image up and lists its blobs: first those of airgap.yaml and of the bundles to
// start from, then those of charts and manifests that are not among them.
func (g *gatherer) resolveImages(ctx context.Context) error {
	if err := g.resolve(ctx, g.explicit); err != nil {
		return err
	}
	for _, image := range g.explicit {
		if err := g.add(image); err != nil {
			return err
		}
	}
	var taken []*wantedImage
	for _, b := range g.bases {
		for _, image := range b.manifest.Images {
			if own, ok := g.images[image.Reference]; ok {
				own.system = own.system || image.System // a system image that airgap.yaml replaces stays one
				continue
			}
			w := &wantedImage{reference: image.Reference, node: "spec.from", system: image.System, base: b, baseImage: image}
			w.why = []Mention{{Where: "bundle " + path.Base(b.path)}}
			g.images[image.Reference] = w
			taken = append(taken, w)
		}
	}
	if err := g.resolve(ctx, taken); err != nil {
		return err
	}
	var fetched []*wantedImage
	if err := g.nameFound(&fetched); err != nil {
		return err
	}
	return g.resolve(ctx, fetched)
}

// resolve looks images up, several at a time.
func (g *gatherer) resolve(ctx context.Context, images []*wantedImage) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(g.options.Concurrency)
	for _, image := range images {
		group.Go(func() error { return g.lookUp(ctx, image) })
	}
	return group.Wait()
}

// takeOverBases adds what the bundles to start from have beside images. It goes before what airgap.yaml adds,
// because charts are installed and manifests applied in this order.
func (g *gatherer) takeOverBases(ctx context.Context) error {
	for _, b := range g.bases {
		if err := b.takeOver(ctx, &g.content, g.platforms); err != nil {
			return err
		}
	}
	return nil
}

// report lists the images and why they are there.
func (g *gatherer) report() []Found {
	found := []Found{}
	for _, image := range g.sortedImages() {
		found = append(found, Found{image.reference, true, image.why})
	}
	for _, image := range byReference(g.optional) {
		found = append(found, Found{image.reference, false, image.why})
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Reference, b.Reference) })
	return found
}

// sortedImages are the images to carry by reference.
func (g *gatherer) sortedImages() []*wantedImage { return byReference(g.images) }

func byReference(all map[string]*wantedImage) []*wantedImage {
	images := make([]*wantedImage, 0, len(all))
	for _, image := range all {
		images = append(images, image)
	}
	slices.SortFunc(images, func(a, b *wantedImage) int { return strings.Compare(a.reference, b.reference) })
	return images
}
