package bundle

import (
	"bytes"
	"encoding/json"
	"slices"

	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// indexed lays and signs the bundle of everything with another index.json, which its manifest lists as it is.
func (h *hostileMaker) indexed(edit func(index []byte) []byte) []byte {
	h.t.Helper()
	parts, end := split(h.t, bytes.Clone(h.whole))
	_, size, mtime, err := decodeHeader(&parts[indexAt].header)
	if err != nil {
		h.t.Fatal(err)
	}
	index := edit(parts[indexAt].contents[:size])
	parts[indexAt] = newPart(indexPath, index, mtime)
	m := h.manifestOf(h.whole)
	m.Entries[1] = entryOf(indexPath, index, RoleLayout)
	data, err := m.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.signed(join(parts, end), data)
}

// hostileIndexes are signed bundles whose index.json, by which other tools find what is in them, says something else than their manifest.
func hostileIndexes() []hostile {
	var cases []hostile
	add := func(name string, edit func(index []byte) []byte) {
		cases = append(cases, hostile{"index", name, func(h *hostileMaker) []byte { return h.indexed(edit) }, ErrFormat, RuleIndex, "its images and artifacts make"})
	}
	edited := func(name string, edit func(index *ocispec.Index)) {
		add(name, func(data []byte) []byte {
			var index ocispec.Index
			if err := json.Unmarshal(data, &index); err != nil {
				panic(err) // the writer of bundles has made it
			}
			edit(&index)
			data, err := json.Marshal(index)
			if err != nil {
				panic(err)
			}
			return data
		})
	}
	const first, last = 0, 2 // images of the bundle; artifacts follow
	image := func(name string, edit func(d *ocispec.Descriptor)) {
		edited(name, func(index *ocispec.Index) { edit(&index.Manifests[first]) })
	}
	edited("image that the manifest does not list", func(index *ocispec.Index) {
		smuggled := index.Manifests[first]
		smuggled.Annotations = map[string]string{ocispec.AnnotationRefName: "docker.io/library/evil:1", imageNameAnnotation: "docker.io/library/evil:1"}
		index.Manifests = append(index.Manifests, smuggled)
	})
	edited("image left out", func(index *ocispec.Index) { index.Manifests = slices.Delete(index.Manifests, first, first+1) })
	edited("image twice", func(index *ocispec.Index) {
		index.Manifests = slices.Insert(index.Manifests, first, index.Manifests[first])
	})
	edited("images in another order", func(index *ocispec.Index) {
		index.Manifests[first], index.Manifests[last] = index.Manifests[last], index.Manifests[first]
	})
	edited("names exchanged", func(index *ocispec.Index) {
		a, c := &index.Manifests[first], &index.Manifests[last]
		a.Annotations, c.Annotations = c.Annotations, a.Annotations
	})
	image("name of another image", func(d *ocispec.Descriptor) { d.Annotations[ocispec.AnnotationRefName] = "docker.io/library/evil:1" })
	image("name of another image for containerd", func(d *ocispec.Descriptor) { d.Annotations[imageNameAnnotation] = "docker.io/library/evil:1" })
	image("no name", func(d *ocispec.Descriptor) { d.Annotations = nil })
	image("further annotation", func(d *ocispec.Descriptor) { d.Annotations["io.containerd.import.ref-source"] = "annotation" })
	image("another digest", func(d *ocispec.Descriptor) { d.Digest = digest.FromString("absent") })
	image("another size", func(d *ocispec.Descriptor) { d.Size++ })
	image("another media type", func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageManifest })
	image("platform", func(d *ocispec.Descriptor) { d.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"} })
	image("place elsewhere", func(d *ocispec.Descriptor) { d.URLs = []string{"https://registry.example/evil"} })
	image("contents of its own", func(d *ocispec.Descriptor) { d.Data = []byte("{}") })
	edited("artifact with the name of an image", func(index *ocispec.Index) {
		index.Manifests[last+1].Annotations = map[string]string{imageNameAnnotation: "docker.io/library/evil:1"}
	})
	edited("artifact of another type", func(index *ocispec.Index) { index.Manifests[last+1].ArtifactType = FileArtifactType + "x" })
	edited("artifact left out", func(index *ocispec.Index) { index.Manifests = index.Manifests[:last+1] })
	edited("annotations of the whole", func(index *ocispec.Index) { index.Annotations = map[string]string{"a": "b"} })
	edited("subject", func(index *ocispec.Index) { index.Subject = &index.Manifests[first] })
	edited("nothing in it", func(index *ocispec.Index) { index.Manifests = nil })
	add("empty", func([]byte) []byte { return nil })
	add("no JSON", func([]byte) []byte { return []byte("not JSON") })
	add("list twice", func(data []byte) []byte {
		return bytes.Replace(data, []byte(`{"schemaVersion"`), []byte(`{"manifests":[],"schemaVersion"`), 1)
	})
	add("list in other letters", func(data []byte) []byte {
		return bytes.Replace(data, []byte(`{"schemaVersion"`), []byte(`{"Manifests":[],"schemaVersion"`), 1)
	})
	add("white space", func(data []byte) []byte { return append(data, '\n') })
	return cases
}
