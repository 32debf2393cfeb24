package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/source"
	"airgap/installer"
	"airgap/internal/atrest"
	"airgap/internal/progress"
	"airgap/signing"
)

var _ = register(newBuildCommand)

// buildOptions are the flags of build.
type buildOptions struct {
	file, bundle       string
	key                keyFlags
	platforms, fromKey []string
	update, locked     bool
	cache, since       string
	concurrency        int
	provenance, sbom   bool
	builder            string
	output             string
	split              string
	prove              proveFlags
}

func newBuildCommand(e *env) *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Gather what airgap.yaml names into one signed bundle",
		Long: `Gather what airgap.yaml names into one signed bundle: images from registries, layouts and
archives, charts, manifests, files, and the contents of other signed bundles.

airgap.lock, beside airgap.yaml, keeps the digest of everything that was fetched and the issue time: the same
inputs, lock and key give the same bytes. --update takes what tags mean now; --locked fails rather than build
anything but what the lock describes. SOURCE_DATE_EPOCH sets the issue time. --cache keeps what registries give in
a folder: a build that broke off goes on from there, the next one fetches what is new. The password of the key is taken
from --password-file or COSIGN_PASSWORD, or asked for. Several --key sign one after the other; others can add their
signatures later, with ` + "`airgap sign`" + `.

--provenance puts a signed statement into the bundle that says who built it, from which airgap.yaml, lock and
sources (SLSA v1), --sbom one that says which software is in its images (SPDX 2.3): Debian and Alpine packages and
the modules of Go programs. Whoever verifies the bundle checks them, and ` + "`airgap inspect`" + ` prints them.

--prove, as root, starts the result on a machine of its own with no way out, and fails if a pod, an operator's too, asks
for an image that the bundle has not, or is not Ready in time. Nothing of that machine stays.

An airgap.yaml:

  apiVersion: airgap/v1
  kind: Bundle
  metadata: {name: site-a, version: 1.4.0}
  spec:
    from: [system.airgap]      # signed bundles to start from: files, folders, parts, https:// or oci://; left out: system.airgap
                               # beside the executable; []: none
    platforms: [linux/amd64]
    images:
      - docker.io/library/nginx:1.29
      - docker-archive:./app.tar.gz
      - {source: "oci:./out/app:latest", name: registry.example/app:1.4}
    charts:
      - {name: podinfo, chart: ./charts/podinfo, namespace: demo, values: values.yaml}
      - {name: db, chart: "oci://registry.example/charts/db", version: 1.2.3}
    manifests: [k8s/*.yaml]
    files: [{source: site.conf, target: /etc/site.conf, mode: "0644"}]

Images that charts and manifests name are found by rendering them, as ` + "`airgap images --why`" + ` shows.

Signatures that images have in their registries (cosign's and Notation's) are carried with them. spec.verifyImages
says who must have signed which images: a build with one that is not is refused (exit code 3).`,
		Example: `  airgap build -f airgap.yaml -o site.airgap --key site.key
  airgap build -o site.airgap --key site.key --platform linux/amd64 --platform linux/arm64
  airgap build -o site.airgap --key site.key --from-key airgap-release.pub
  airgap build -o delta.airgap --key site.key --since site-1.4.airgap
  sudo -E airgap build -o site.airgap --key site.key --prove`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.build(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "airgap.yaml", "`file` that says what to gather")
	flags.StringVarP(&o.bundle, "bundle", "o", "", "`file` to write; a name that ends in / is written as a folder, where what stays the same is left as it is")
	addSplitFlag(cmd, &o.split)
	o.prove.add(cmd)
	o.key.add(cmd, "to sign with (repeatable)")
	flags.StringArrayVar(&o.platforms, "platform", nil, "`os/architecture` to carry, instead of spec.platforms (repeatable)")
	flags.StringArrayVar(&o.fromKey, "from-key", nil, "public key `file` of a bundle in spec.from; the key that signs is trusted too (repeatable)")
	flags.BoolVar(&o.update, "update", false, "take what tags mean now and renew airgap.lock")
	flags.BoolVar(&o.locked, "locked", false, "fail if the bundle would not be the one that airgap.lock describes")
	flags.StringVar(&o.since, "since", "", "write a delta that leaves out what `BUNDLE|inventory.json` has, for machines that have it: a bundle wherever verify takes one, or what airgap inventory has written, which - reads from standard input")
	flags.StringVar(&o.cache, "cache", "", "`folder` that keeps what is fetched from registries, for the next build (see airgap cache prune)")
	flags.IntVar(&o.concurrency, "concurrency", 0, "`number` of images looked up and layers fetched at a time (default: chosen)")
	flags.BoolVar(&o.provenance, "provenance", false, "add a signed statement of who built the bundle, and from what")
	flags.StringVar(&o.builder, "builder-id", "", "`URI` of who builds, for --provenance (default: the key that signs)")
	flags.BoolVar(&o.sbom, "sbom", false, "add a signed list of the software in the images; what registries give is in a temporary file first")
	addOutputFlag(cmd, &o.output, "")
	return cmd
}

// buildReport is what build prints as JSON.
type buildReport struct {
	Bundle   string         `json:"bundle"`
	Name     string         `json:"name"`
	Version  string         `json:"version"`
	IssuedAt string         `json:"issuedAt"`
	Bytes    int64          `json:"bytes"`
	Omitted  int64          `json:"omittedBytes"` // that a delta leaves out
	KeyID    string         `json:"keyID"`        // of the first
	KeyIDs   []string       `json:"keyIDs"`
	Images   []source.Found `json:"images"`

	VerifiedImages []source.VerifiedImage `json:"verifiedImages,omitempty"` // by spec.verifyImages

	Seconds float64 `json:"seconds"`

	Proof      *installer.Proof `json:"proof,omitempty"`      // with --prove
	NotStarted []string         `json:"notStarted,omitempty"` // references of images that no pod was started from then
}

func (e *env) build(ctx context.Context, o buildOptions) error {
	began := e.now()
	_, _ = atrest.UnmapUnused() // what the start needed: opening the key takes as much. Without it all works as well
	switch {
	case o.bundle == "":
		return &usageError{errors.New("-o is missing: the bundle to write")}
	case len(o.key.files) == 0:
		return withHint(&usageError{errors.New("--key is missing: a bundle is always signed")}, "make a pair of keys with `airgap keygen`")
	}
	if err := checkOutput(o.output); err != nil {
		return err
	}
	partBytes, err := splitSize(o.split, o.bundle)
	if err != nil {
		return err
	}
	spec, err := loadSpec(o.file)
	if err != nil {
		return err
	}
	if err := o.prove.check(o.since, spec, o.platforms); err != nil {
		return err
	}
	keys, err := o.key.private(ctx, e)
	if err != nil {
		return err
	}
	options, err := e.sourceOptions(spec, o, keys)
	if err != nil {
		return err
	}
	since, err := e.readSince(ctx, o.since, options.Trust)
	if err != nil {
		return err
	}
	fetching := e.progress("from", o.output)
	options.Progress, options.Transfer = fetching.Set, fetching.Begin
	var notices []string // told when nothing is drawn over them
	options.Notice = func(text string) { notices = append(notices, text) }
	gathered, err := source.Gather(ctx, spec, options)
	fetching.Stop()
	for _, notice := range notices {
		e.notice(notice)
	}
	if err != nil {
		return gatherHint(err)
	}
	defer gathered.Close()
	gathered.Content.Since = since

	if err := e.attest(ctx, gathered, o, keys, partBytes); err != nil {
		return err
	}
	bar := e.progress("build", o.output)
	defer bar.Stop()
	manifest, err := bundle.Create(ctx, o.bundle, gathered.Content, bundle.CreateOptions{
		Signers: keys, Concurrency: o.concurrency, PartBytes: partBytes, Spool: gathered.Spool(), Progress: bar.Set, Transfer: bar.Begin,
	})
	if err != nil {
		return fileSizeHint(err)
	}
	bar.Done()
	if err := gathered.Lock.Write(spec.LockPath()); err != nil {
		return fmt.Errorf("the bundle is written, its lock is not: %w", err)
	}
	report := buildReport{
		Bundle: o.bundle, Name: manifest.Name, Version: manifest.Version, IssuedAt: manifest.IssuedAt,
		Bytes: manifest.Size(), Omitted: bundle.SizeOf(manifest.Omitted()), KeyID: keys[0].Public().ID(), KeyIDs: keyIDs(keys), Images: gathered.Images, VerifiedImages: gathered.Verified, Seconds: e.now().Sub(began).Seconds(),
	}
	if o.prove.wanted {
		if report.Proof, err = e.prove(ctx, o, manifest, keys); err != nil {
			return fmt.Errorf("%s is written, but was not proved: %w", o.bundle, err)
		}
		report.NotStarted, report.Seconds = notStarted(manifest, report.Proof), e.now().Sub(began).Seconds()
	}
	if o.output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	p.line("%s: %s %s, %s, %s", o.bundle, report.Name, report.Version, progress.Bytes(report.Bytes), counts(manifest))
	p.lines(deltaLine(manifest))
	p.line("signed by key ID %s", strings.Join(report.KeyIDs, ", "))
	for _, v := range report.VerifiedImages {
		p.line("%s is signed by %s, as %s wants", v.Reference, v.Signer, v.Rule)
	}
	if proof := report.Proof; proof != nil {
		p.line("proved: %d pods of %d images were Ready or done on a machine with no way out (%.1f s)", proof.Pods, len(proof.Images), proof.Seconds)
		if len(report.NotStarted) > 0 {
			p.line("carried, and no pod was started from them: %s", strings.Join(report.NotStarted, ", "))
		}
	}
	if hints := hintedAt(gathered.Images); len(hints) > 0 {
		p.line("not carried, since they are only hinted at (airgap images --why tells where; spec.images carries them):")
		for _, image := range hints {
			p.line("  %s", image.Reference)
		}
	}
	return p.err
}

// notice tells what a build cannot look for.
func (e *env) notice(text string) { fmt.Fprintf(e.stderr, "note: %s\n", text) }

// temporaryFolder is where what a build fetches first lies until it is written to output: on the same disk, which has room for it.
func temporaryFolder(output string) string { return filepath.Dir(strings.TrimSuffix(output, "/")) }

// attest adds the statements that are wanted.
func (e *env) attest(ctx context.Context, gathered *source.Gathered, o buildOptions, keys []*signing.PrivateKey, partBytes int64) error {
	if !o.sbom && !o.provenance {
		return nil
	}
	options := source.AttestOptions{
		Provenance: o.provenance, SBOM: o.sbom, Signers: keys, Builder: o.builder,
		Output: o.bundle, PartBytes: partBytes,
	}
	if o.sbom {
		bar := e.progress("sbom", o.output)
		defer bar.Stop()
		options.Progress, options.Transfer = bar.Set, bar.Begin
		if err := gathered.Attest(ctx, options); err != nil {
			return err
		}
		bar.Done()
		return nil
	}
	return gathered.Attest(ctx, options)
}

// hintedAt are the images that a bundle does not carry although something tells of them.
func hintedAt(images []source.Found) []source.Found {
	return slices.DeleteFunc(slices.Clone(images), func(image source.Found) bool { return image.Carried })
}

// keyIDs names keys.
func keyIDs(keys []*signing.PrivateKey) []string {
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = key.Public().ID()
	}
	return ids
}

// loadSpec reads airgap.yaml.
func loadSpec(file string) (*source.Spec, error) {
	spec, err := source.Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(&usageError{err}, "say which file with -f, or write one; `airgap build --help` tells how")
	}
	return spec, err
}

// sourceOptions are what gathering needs, from flags, files and environment.
func (e *env) sourceOptions(spec *source.Spec, o buildOptions, keys []*signing.PrivateKey) (source.Options, error) {
	if o.concurrency < 0 {
		return source.Options{}, &usageError{fmt.Errorf("--concurrency %d: want a positive number", o.concurrency)}
	}
	if o.locked && o.update {
		return source.Options{}, &usageError{errors.New("--locked keeps to airgap.lock, --update renews it: which?")}
	}
	versions := stampedVersions()
	options := source.Options{
		Platforms: o.platforms, Locked: o.locked, Cache: o.cache, TemporaryPath: temporaryFolder(o.bundle), Concurrency: o.concurrency, Now: e.now,
		AirgapVersion: versions.Airgap, KubernetesVersion: versions.Kubernetes,
	}
	trusted, err := trustedKeys(o, keys)
	if err != nil {
		return options, err
	}
	options.Trust = signing.Policy{Keys: trusted, Threshold: 1}
	if spec.Spec.From == nil {
		if options.SystemBundle, err = e.systemBundle(); err != nil {
			return options, err
		}
	}
	if !o.update {
		if options.Lock, err = source.ReadLock(spec.LockPath()); err != nil {
			return options, err
		}
	}
	if o.locked && options.Lock == nil {
		return options, withHint(&usageError{fmt.Errorf("--locked: there is no %s", spec.LockPath())}, "a build without --locked writes it")
	}
	if text, ok := e.getenv("SOURCE_DATE_EPOCH"); ok {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 {
			return options, &usageError{fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", text)}
		}
		options.IssuedAt = time.Unix(seconds, 0)
	}
	return options, nil
}

// trustedKeys are those whose bundles are trusted: what others made is built on, or what is built.
func trustedKeys(o buildOptions, keys []*signing.PrivateKey) ([]signing.PublicKey, error) {
	trusted, err := readPublicKeys(o.fromKey)
	for _, key := range keys {
		trusted = append(trusted, key.Public())
	}
	return trusted, err
}

// systemBundle finds the bundle that a missing spec.from means: system.airgap beside the executable.
func (e *env) systemBundle() (string, error) {
	executable, ok := e.getenv("AIRGAP_EXECUTABLE") // the self-extracting file, which this process came out of
	if !ok {
		var err error
		if executable, err = os.Executable(); err != nil {
			return "", err
		}
	}
	folder := filepath.Dir(executable)
	places := []string{
		filepath.Join(folder, "system.airgap"),
		filepath.Join(folder, "dist", "system.airgap"),
		filepath.Join(filepath.Dir(folder), "dist", "system.airgap"),
	}
	if i := slices.IndexFunc(places, func(place string) bool { _, err := os.Stat(place); return err == nil }); i >= 0 {
		return places[i], nil
	}
	return "", withHint(&usageError{fmt.Errorf("spec.from is left out, and there is no system.airgap in %s", folder)},
		"put system.airgap beside the executable, name it in spec.from, or write `from: []` for a bundle of content only")
}

// gatherHint says which flag accepts what has changed, or trusts the bundle that a spec starts from.
func gatherHint(err error) error {
	var drift *source.DriftError
	if errors.As(err, &drift) {
		return withHint(err, "if that is meant, build without --locked, or with --update to take what tags mean now")
	}
	var from *source.FromError
	if !errors.As(err, &from) {
		return err
	}
	switch {
	case errors.Is(err, signing.ErrUntrusted):
		return withHint(err, "if you trust its maker, add --from-key with their public key (not one that came with the bundle)")
	case errors.Is(err, fs.ErrNotExist):
		return withHint(&usageError{err}, "spec.from names bundles by paths relative to airgap.yaml")
	}
	return err
}
