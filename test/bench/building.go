package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"airgap/bundle"
)

const (
	// baseFamilies is how many bases the images share among them, and baseLayers of how many layers each is.
	baseFamilies = 3
	baseLayers   = 2

	mostBuildRatio   = 1.15
	mostAttestRatio  = 2        // of the build without statements
	mostBuildWritten = 1.02     // bytes written per byte of the bundle
	mostDeltaBytes   = 64 << 10 // beyond the layer that changed
)

// pulled is the set of images that are built from a registry.
type pulled struct {
	host   string
	spec   string // path of airgap.yaml
	list   string // path of the list of blobs
	bundle string // path of what build writes
}

// benchBuild compares build with fetching the same blobs by plain HTTP, all from one registry on the loopback, and holds what it
// writes to be the same however many blobs it fetches at once. Then it weighs a delta.
func benchBuild(ctx context.Context, b *bench) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	folder := filepath.Join(b.work, "pulled")
	if err := os.MkdirAll(filepath.Join(folder, "blobs"), 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(filepath.Join(folder, "blobs"))))
	server := httptest.NewServer(handler)
	defer server.Close()
	say("build: filling a registry with %d images, %d MB", contentImages, b.sizeMB)
	p := &pulled{
		host: strings.TrimPrefix(server.URL, "http://"), spec: filepath.Join(folder, "pulled.yaml"),
		list: filepath.Join(folder, "list"), bundle: filepath.Join(folder, "pulled.airgap"),
	}
	layerBytes := int64(b.sizeMB) * 1e6 / (baseFamilies*baseLayers + contentImages*(layersPerImage-baseLayers))
	if err := p.push(ctx, layerBytes); err != nil {
		return err
	}
	fetched := filepath.Join(folder, "fetched")
	fetch := &contender{title: "fetch by plain HTTP into one file, with sha256, synced", command: func() *exec.Cmd { return b.command(ctx, self, fetchVerb, p.list, fetched) }}
	concurrency := 0
	build := &contender{title: "`airgap build`, signed, synced", command: func() *exec.Cmd { return p.build(ctx, b, p.bundle, "--concurrency", strconv.Itoa(concurrency)) }}
	attested := &contender{title: "the same with `--sbom --provenance`", command: func() *exec.Cmd {
		return p.build(ctx, b, p.bundle+".attested", "--sbom", "--provenance")
	}}
	// What every build takes: the start of the executable, and scrypt, which guards a cosign key.
	empty := filepath.Join(folder, "empty.yaml")
	if err := os.WriteFile(empty, []byte("apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: empty, version: 1.0.0}\nspec:\n  from: []\n"), 0o600); err != nil {
		return err
	}
	start := &contender{title: "`airgap build` of an empty bundle: start, and opening of the key", command: func() *exec.Cmd {
		return b.command(ctx, b.built(packed), "build", "-f", empty, "-o", fetched, "--key", b.built("dist/development.key"))
	}}
	var first string
	for run := range b.runs {
		say("build: run %d of %d", run+1, b.runs)
		order := []*contender{fetch, start, build, attested}
		if run%2 == 1 {
			slices.Reverse(order)
		}
		if err := os.RemoveAll(p.bundle); err != nil { // its blocks are not build's to free
			return err
		}
		for _, c := range order {
			if err := b.contend(c, p.list, fetched); err != nil {
				return err
			}
			if err := os.RemoveAll(p.bundle + ".attested"); err != nil {
				return err
			}
		}
		if first, err = sameAs(p.bundle, first); err != nil {
			return err
		}
	}
	size, err := fileMB(p.bundle)
	if err != nil {
		return err
	}
	concurrencies := []int{1, 2, 16}
	for _, concurrency = range concurrencies {
		if _, err := output(build.command()); err != nil {
			return err
		}
		if _, err := sameAs(p.bundle, first); err != nil {
			return fmt.Errorf("concurrency %d: %w", concurrency, err)
		}
	}
	fmt.Printf("A bundle of %s from a registry on the loopback: %d images of %d layers, of which %d are shared. %d builds, of them with a concurrency of %v, gave the same bytes.\n\n",
		quantity(size, "MB"), contentImages, layersPerImage, baseLayers, b.runs+len(concurrencies), concurrencies)
	var rows [][]string
	for _, c := range []*contender{fetch, start, build, attested} {
		rows = append(rows, []string{c.title, c.seconds.in("s"), ratios(c.seconds, fetch.seconds).in("×"), c.writtenMB.scaled(1 / size).in("×"), c.peakMB.in("MB")})
	}
	printTable([]string{"What", "Time", "÷ plain fetch", "Written per byte of the bundle", "Peak memory"}, rows)
	b.hold("`airgap build` beyond an empty bundle's ÷ plain fetch", ratios(beyond(build.seconds, start.seconds), fetch.seconds).median(), mostBuildRatio, "×")
	b.hold("`airgap build` with SBOM and provenance ÷ without", ratios(attested.seconds, build.seconds).median(), mostAttestRatio, "×")
	b.hold("bytes written by `airgap build` ÷ bundle", build.writtenMB.median()/size, mostBuildWritten, "×")
	b.hold("peak memory of `airgap build`", build.peakMB.median(), mostDeskMB, "MB")
	b.hold("peak memory of `airgap build` with SBOM and provenance", attested.peakMB.median(), mostDeskMB, "MB")
	return p.weighDelta(ctx, b, layerBytes)
}

// build is `airgap build` of the images.
func (p *pulled) build(ctx context.Context, b *bench, output string, more ...string) *exec.Cmd {
	arguments := []string{"build", "-f", p.spec, "-o", output, "--key", b.built("dist/development.key")}
	return b.command(ctx, b.built(packed), append(arguments, more...)...)
}

// push fills the registry, and writes airgap.yaml and the list of blobs.
func (p *pulled) push(ctx context.Context, layerBytes int64) error {
	var spec, list strings.Builder
	fmt.Fprintf(&spec, "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: pulled, version: 1.0.0}\n"+
		"spec:\n  from: []\n  platforms: [linux/%s]\n  images:\n", runtime.GOARCH)
	listed := map[string]bool{}
	for n := range contentImages {
		image, err := p.pushImage(ctx, n, "1", layerBytes, byte(n))
		if err != nil {
			return err
		}
		fmt.Fprintf(&spec, "    - %s/bench/image-%02d:1\n", p.host, n)
		manifest, err := image.Manifest()
		if err != nil {
			return err
		}
		for _, d := range append(manifest.Layers, manifest.Config) {
			if !listed[d.Digest.Hex] {
				listed[d.Digest.Hex] = true
				fmt.Fprintf(&list, "http://%s/v2/bench/image-%02d/blobs/%s %d %s\n", p.host, n, d.Digest, d.Size, d.Digest.Hex)
			}
		}
	}
	return errors.Join(os.WriteFile(p.spec, []byte(spec.String()), 0o600), os.WriteFile(p.list, []byte(list.String()), 0o600))
}

// pushImage pushes image n: the layers of its family's base, then its own. top is what its last layer is made from. It returns the image as the
// registry has it.
func (p *pulled) pushImage(ctx context.Context, n int, tag string, layerBytes int64, top byte) (v1.Image, error) {
	var seeds [][2]byte
	for l := range layersPerImage {
		switch {
		case l < baseLayers:
			seeds = append(seeds, [2]byte{0xf0 + byte(n%baseFamilies), byte(l)})
		case l == layersPerImage-1:
			seeds = append(seeds, [2]byte{top, byte(l)})
		default:
			seeds = append(seeds, [2]byte{byte(n), byte(l)})
		}
	}
	image, err := layeredImage(seeds, layerBytes)
	if err != nil {
		return nil, err
	}
	reference, err := name.ParseReference(fmt.Sprintf("%s/bench/image-%02d:%s", p.host, n, tag))
	if err != nil {
		return nil, err
	}
	if err := remote.Write(reference, image, remote.WithContext(ctx)); err != nil {
		return nil, err
	}
	return remote.Image(reference, remote.WithContext(ctx))
}

// weighDelta changes one layer of one image and makes a delta.
func (p *pulled) weighDelta(ctx context.Context, b *bench, layerBytes int64) error {
	image, err := p.pushImage(ctx, 0, "1", layerBytes, 0xaa)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	changed, err := layers[len(layers)-1].Size()
	if err != nil {
		return err
	}
	delta := p.bundle + ".delta"
	if _, err := output(p.build(ctx, b, delta, "--update", "--since", p.bundle)); err != nil {
		return err
	}
	if _, _, err := bundle.Verify(ctx, delta, bundle.AllowUnsigned{}, nil); err != nil {
		return err
	}
	weight, err := os.Stat(delta)
	if err != nil {
		return err
	}
	beyond := weight.Size() - changed
	fmt.Printf("\nA delta for one changed layer of %s has %s more.\n", quantity(float64(changed)/1e6, "MB"), quantity(float64(beyond)/1e3, "kB"))
	b.hold("a delta beyond the layer that changed", float64(beyond), mostDeltaBytes, "bytes")
	return nil
}

// sameAs returns the digest of a file, and fails if it is not want, unless that is empty.
func sameAs(path, want string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum, _, err := v1.SHA256(file)
	got := sum.Hex
	if err == nil && want != "" && got != want {
		err = fmt.Errorf("another build of the same gave other bytes: %s, not %s", got, want)
	}
	return got, err
}

func fileMB(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / 1e6, nil
}
