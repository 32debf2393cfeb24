package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/internal/atomicfile"
)

// WriteRecord keeps a record in a file, durably. An image with one of the names in keep stays in it though the store no longer
// has it: a bundle brought it, and a store that has lost it must not make the record forget it too.
func WriteRecord(file string, record Record, keep []string) error {
	before, err := ReadRecord(file)
	if err != nil {
		before = Record{} // it is written anew
	}
	known := map[string]bool{}
	for _, image := range record.Images {
		known[image.Name] = true
	}
	kept := map[string]bool{}
	for _, name := range keep {
		if parsed, err := parseName(name); err == nil {
			kept[parsed.full] = true
		}
	}
	for _, image := range before.Images {
		if kept[image.Name] && !known[image.Name] {
			record.Images = append(record.Images, image)
		}
	}
	slices.SortFunc(record.Images, func(a, b RecordedImage) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(record.Pushed, func(a, b RecordedImage) int { return cmp.Compare(a.Name, b.Name) })
	if err == nil && reflect.DeepEqual(before, record) {
		return nil
	}
	return atomicfile.WriteJSON(file, record, 0o600)
}

// imports are the images of the record as an import takes them.
func (r Record) imports() []ImportImage {
	var list []ImportImage
	for _, image := range r.Images {
		wanted := ImportImage{
			Names:  []string{image.Name},
			Target: ocispec.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size},
		}
		if image.Pinned {
			wanted.Labels = map[string]string{LabelPinned: Pinned}
		}
		list = append(list, wanted)
	}
	return list
}

// ReadRecord reads a record; an empty one if there is no file.
func ReadRecord(file string) (record Record, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return record, nil
	}
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return Record{}, fmt.Errorf("%s: %w", file, err)
	}
	return record, nil
}
