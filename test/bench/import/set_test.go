package importbench

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	images         = 12
	bases          = 3 // each shared by four images
	layersPerBase  = 2
	layersPerImage = 3
	layers         = bases*layersPerBase + images*layersPerImage
)

// fullLayerMiB is the uncompressed size of a layer. AIRGAP_BENCH_LAYER_MIB makes a smaller set, of every so
// many-th file: the share of small files stays what it is.
const fullLayerMiB = 88

// meanFileBytes is the mean size of the set's files: that of all images of Docker Hub, 167 TB in 5.3 billion files (Zhao et al., Large-Scale
// Analysis of the Docker Hub Dataset, CLUSTER 2019). What an import costs is as much a matter of how many files there are as of how many
// bytes, and machines differ in what they have.
const meanFileBytes = 31_600

func layerMiB() int {
	if mib, err := strconv.Atoi(os.Getenv("AIRGAP_BENCH_LAYER_MIB")); err == nil && mib > 0 && mib < fullLayerMiB {
		return mib
	}
	return fullLayerMiB
}

// makeSet returns the path of the tar with the images, which it makes if it is not there.
func makeSet(t testing.TB, folder string) string {
	path := filepath.Join(folder, "images.tar")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	t.Logf("making %s", path)
	files := sourceFiles(t)
	made := make([]layer, layers)
	var work sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for n := range next {
				made[n] = makeLayer(t, folder, files, n)
			}
		})
	}
	for n := range made {
		next <- n
	}
	close(next)
	work.Wait()
	if err := writeLayout(path, made); err != nil {
		t.Fatal(err)
	}
	return path
}

type layer struct {
	desc   ocispec.Descriptor
	diffID digest.Digest
	path   string
}

// sources are files of this machine: those that are smaller than the mean, and those that are not.
type sources struct{ small, large []string }

// largestFile leaves out what would be most of a layer by itself.
const largestFile = 16 << 20

func sourceFiles(t testing.TB) (s sources) {
	for _, root := range []string{"/usr/lib", "/usr/share", "/usr/bin", runtime.GOROOT()} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			switch info, err := d.Info(); {
			case err != nil || info.Size() == 0 || info.Size() > largestFile:
			case info.Size() < meanFileBytes:
				s.small = append(s.small, path)
			default:
				s.large = append(s.large, path)
			}
			return nil
		})
	}
	if len(s.small) == 0 || len(s.large) == 0 {
		t.Fatal("no files to make layers from")
	}
	return s
}

// next is the file that comes after n others of a layer, which have so many bytes: a large one whenever they are too small on the mean.
func (s sources) next(n int, size int64, at int) string {
	if size < int64(n)*meanFileBytes {
		return s.large[at%len(s.large)]
	}
	return s.small[at%len(s.small)]
}

// makeLayer fills a layer with the files from a place that depends on n. Each file is salted with n, so that
// no two layers have the same one.
func makeLayer(t testing.TB, folder string, files sources, n int) layer {
	l := layer{path: filepath.Join(folder, fmt.Sprintf("layer-%02d", n))}
	out, err := os.Create(l.path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	compressed, contents := sha256.New(), sha256.New()
	packer, _ := gzip.NewWriterLevel(io.MultiWriter(out, compressed), 6)
	w := tar.NewWriter(io.MultiWriter(packer, contents))
	folders := map[string]bool{".": true}
	var size int64
	for count, at := 0, n*7919; size < int64(layerMiB())<<20; at += fullLayerMiB / layerMiB() {
		source := files.next(count, size, at)
		data, err := os.ReadFile(source)
		if err != nil {
			continue
		}
		for i := 0; i < len(data); i += 2048 {
			data[i] ^= byte(n + 1)
		}
		name := fmt.Sprintf("opt/layer-%02d%s", n, source)
		addFolders(w, folders, filepath.Dir(name))
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(1700000000, 0)}
		if err := errors.Join(w.WriteHeader(header), ignoreCount(w.Write(data))); err != nil {
			t.Error(err)
			return l
		}
		size += int64(len(data))
		count++
	}
	if err := errors.Join(w.Close(), packer.Close()); err != nil {
		t.Error(err)
	}
	info, err := out.Stat()
	if err != nil {
		t.Error(err)
		return l
	}
	l.desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Size: info.Size(),
		Digest: digest.NewDigest(digest.SHA256, compressed)}
	l.diffID = digest.NewDigest(digest.SHA256, contents)
	return l
}

func addFolders(w *tar.Writer, known map[string]bool, name string) {
	if known[name] {
		return
	}
	addFolders(w, known, filepath.Dir(name))
	known[name] = true
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: time.Unix(1700000000, 0)})
}

func ignoreCount(_ int, err error) error { return err }

// writeLayout writes the OCI layout: metadata first, then the layers.
func writeLayout(path string, made []layer) error {
	var metadata [][]byte
	add := func(v any, mediaType string) ocispec.Descriptor {
		data, _ := json.Marshal(v)
		metadata = append(metadata, data)
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for n := range images {
		base := n % bases * layersPerBase
		own := bases*layersPerBase + n*layersPerImage
		var config ocispec.Image
		config.OS, config.Architecture, config.RootFS.Type = "linux", runtime.GOARCH, "layers"
		manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
		for _, l := range append(append([]layer{}, made[base:base+layersPerBase]...), made[own:own+layersPerImage]...) {
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
			manifest.Layers = append(manifest.Layers, l.desc)
		}
		manifest.Config = add(config, ocispec.MediaTypeImageConfig)
		desc := add(manifest, ocispec.MediaTypeImageManifest)
		desc.Platform = &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
		desc.Annotations = map[string]string{"io.containerd.image.name": imageName(n), ocispec.AnnotationRefName: "1"}
		index.Manifests = append(index.Manifests, desc)
	}
	indexJSON, err := json.Marshal(index)
	if err != nil {
		return err
	}
	out, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	put := func(name string, size int64, r io.Reader) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
			return err
		}
		_, err := io.Copy(w, r)
		return err
	}
	layout := `{"imageLayoutVersion":"1.0.0"}`
	if err := put("oci-layout", int64(len(layout)), strings.NewReader(layout)); err != nil {
		return err
	}
	if err := put("index.json", int64(len(indexJSON)), bytes.NewReader(indexJSON)); err != nil {
		return err
	}
	for _, data := range metadata {
		sum := sha256.Sum256(data)
		if err := put("blobs/sha256/"+hex.EncodeToString(sum[:]), int64(len(data)), bytes.NewReader(data)); err != nil {
			return err
		}
	}
	for _, l := range made {
		file, err := os.Open(l.path)
		if err != nil {
			return err
		}
		err = put("blobs/sha256/"+l.desc.Digest.Encoded(), l.desc.Size, file)
		if err := errors.Join(err, file.Close(), os.Remove(l.path)); err != nil {
			return err
		}
	}
	if err := errors.Join(w.Close(), out.Sync()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func imageName(n int) string { return fmt.Sprintf("bench.internal/image-%02d:1", n) }
