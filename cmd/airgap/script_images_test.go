package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"airgap/bundle"
	"airgap/internal/cosigntest"
	"airgap/signing"
)

// testImage makes an image of one layer whose bytes depend on seed and platform alone.
func testImage(ts *testscript.TestScript, seed, platform string) v1.Image {
	operatingSystem, architecture, _ := strings.Cut(platform, "/")
	var layer bytes.Buffer
	zipper := gzip.NewWriter(&layer)
	writer := tar.NewWriter(zipper)
	content := strings.Repeat(seed+" on "+platform+"\n", 1000)
	for _, file := range []struct{ name, content string }{
		{"etc/seed", content},
		{"etc/os-release", "ID=debian\nVERSION_ID=12\n"},
		{"var/lib/dpkg/status", "Package: seed\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2.0-1\n"},
	} {
		ts.Check(writer.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.content))}))
		_, err := writer.Write([]byte(file.content))
		ts.Check(err)
	}
	ts.Check(writer.Close())
	ts.Check(zipper.Close())
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, static.NewLayer(layer.Bytes(), types.OCILayer))
	ts.Check(err)
	config, err := image.ConfigFile()
	ts.Check(err)
	config = config.DeepCopy()
	config.OS, config.Architecture = operatingSystem, architecture
	image, err = mutate.ConfigFile(image, config)
	ts.Check(err)
	return image
}

// testIndex makes an index of a platform each, with an attestation as BuildKit adds one.
func testIndex(ts *testscript.TestScript, seed string, platforms []string) v1.ImageIndex {
	index := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, platform := range append(platforms, "unknown/unknown") {
		operatingSystem, architecture, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        testImage(ts, seed, platform),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: operatingSystem, Architecture: architecture}},
		})
	}
	return index
}

func push(ts *testscript.TestScript, _ bool, args []string) {
	reference, err := name.ParseReference(args[0])
	ts.Check(err)
	seed := strings.Join(args, " ")
	if len(args) == 2 {
		ts.Check(remote.Write(reference, testImage(ts, seed, args[1])))
		return
	}
	ts.Check(remote.WriteIndex(reference, testIndex(ts, seed, args[1:])))
}

func writeLayout(ts *testscript.TestScript, _ bool, args []string) {
	path, err := layout.Write(ts.MkAbs(args[0]), empty.Index)
	ts.Check(err)
	tag := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": args[1]})
	if len(args) == 3 {
		ts.Check(path.AppendImage(testImage(ts, args[1], args[2]), tag))
		return
	}
	ts.Check(path.AppendIndex(testIndex(ts, args[1], args[2:]), tag))
}

func writeArchive(ts *testscript.TestScript, _ bool, args []string) {
	tag, err := name.NewTag(args[1])
	ts.Check(err)
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(tarball.Write(tag, testImage(ts, args[1], "linux/amd64"), file))
	ts.Check(file.Close())
}

// attach signs an image with a key, as `cosign sign` does: a tag beside it.
func attach(ts *testscript.TestScript, _ bool, args []string) {
	reference, err := name.ParseReference(args[0])
	ts.Check(err)
	image, err := remote.Head(reference)
	ts.Check(err)
	key, err := signing.ParsePrivateKey([]byte(ts.ReadFile(args[1])), []byte(ts.Getenv("COSIGN_PASSWORD")))
	ts.Check(err)
	payload := cosigntest.Payload(image.Digest.String())
	signature, err := key.Sign(payload)
	ts.Check(err)
	signatures, err := cosigntest.Attached(payload, string(signature.Detached))
	ts.Check(err)
	ts.Check(remote.Write(reference.Context().Tag(bundle.SignatureTag(image.Digest.String(), ".sig")), signatures))
}

func deleteImage(ts *testscript.TestScript, _ bool, args []string) {
	reference, err := name.ParseReference(args[0])
	ts.Check(err)
	image, err := remote.Head(reference)
	ts.Check(err)
	ts.Check(remote.Delete(reference.Context().Digest(image.Digest.String())))
}
