package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Spool holds layers that are fetched before their bundle can be laid out, because statements about them stand in front of them.
//
// For a bundle in one file they go to where they will lie, in the file that becomes the bundle, behind a gap with room for
// anything that can come before them. Once that is known, [Create] has the file system take out what is left of the gap: nothing of a layer
// is written twice. It takes a file system that can (ext4, XFS), and a front of whole blocks: [Content.AddAttestations] sees to that.
// Where the one or the other is missing, and for parts and folders, layers are copied from the spool.
type Spool struct {
	file   *wholeFile               // nil once it has become a bundle, or was closed
	front  int64                    // where the header of the first layer is; if 0, the file cannot become the bundle
	layers []*SpooledLayer          // as they lie
	of     map[string]*SpooledLayer // by digest
}

// SpooledLayer is the room of one layer in a [Spool]: written from its begin to its end, closed, then read.
type SpooledLayer struct {
	entry  Entry
	file   *wholeFile
	offset int64 // of its contents in file

	check    *contentCheck
	handed   int64 // how many of its bytes the kernel has been asked to bring to the disk
	complete bool  // closed, with the contents that it should have
}

const (
	// layerAlignment is what the layers behind a statement begin at a multiple of, in bytes: file systems take out whole blocks.
	layerAlignment = 4 << 10
	// mostUnknownBytes bounds what stands before the layers and is not known when they are fetched: the manifest and two statements.
	mostUnknownBytes = MaxManifestBytes + 2*MaxMetadataBytes
)

// NewSpool makes room for layers of c, whose bundle will be written to output in the form that o says: for all that it carries, if the file can become the
// bundle; else for those of which again says that they cannot be read a second time without a network.
func NewSpool(output string, c Content, o CreateOptions, again func(digest string) bool) (*Spool, error) {
	blobs, err := mergeBlobs(c.Blobs)
	if err != nil {
		return nil, err
	}
	s := &Spool{file: &wholeFile{output: strings.TrimSuffix(output, "/")}, of: map[string]*SpooledLayer{}}
	if s.file.File, err = temporaryBeside(s.file.output); err != nil {
		return nil, fmt.Errorf("create bundle %s: %w", output, err)
	}
	if isOneFile(output, o.Directory, o.PartBytes) && canCollapse(s.file.File) {
		again = func(string) bool { return true }
		s.front = aligned(bytesBeforeLayers(blobs) + mostUnknownBytes)
	}
	if err := s.lay(carriedLayers(blobs, c.Since), again); err != nil {
		return nil, errors.Join(fmt.Errorf("create bundle %s: %w", output, err), s.Close())
	}
	return s, nil
}

// lay gives each layer its place, and reserves them all.
func (s *Spool) lay(layers []Entry, again func(digest string) bool) error {
	end := s.front
	for _, e := range layers {
		if !again(e.Digest()) {
			continue
		}
		layer := &SpooledLayer{entry: e, file: s.file, offset: end + tarBlockBytes, check: newContentCheck(e)}
		s.layers, s.of[e.Digest()] = append(s.layers, layer), layer
		end += entryBytes(e.Size)
	}
	if s.front == 0 { // it needs no name: it is gone when it is closed, however the process ends
		if err := os.Remove(s.file.Name()); err != nil {
			return err
		}
	}
	if len(s.layers) == 0 {
		return nil
	}
	size := end - s.front + tarTrailerBytes
	if err := requireSpace(s.file.File, size, size); err != nil {
		return err
	}
	return reserve(s.file.File, s.front, size)
}

// Layer returns the room of a layer, nil if it has none.
func (s *Spool) Layer(digest string) *SpooledLayer { return s.of[digest] }

// Write implements [io.Writer] for the contents of the layer, in order.
func (l *SpooledLayer) Write(b []byte) (int, error) {
	if err := l.check.fits(len(b)); err != nil {
		return 0, err
	}
	n, err := l.file.File.WriteAt(b, l.offset+l.check.taken())
	l.check.add(b[:n]) // what is in the file, also if that is not all
	if written := l.check.taken(); written-l.handed >= copyBytes {
		l.file.startWriting(l.offset+l.handed, written-l.handed)
		l.handed = written
	}
	return n, err
}

// Close fails with an [ErrDigest] if what was written is not the layer.
func (l *SpooledLayer) Close() error {
	err := l.check.end()
	l.complete = err == nil
	return err
}

// Open opens a layer that was closed: [Blob.Open], until the spool becomes the bundle.
func (l *SpooledLayer) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(l.file.File, l.offset, l.entry.Size)), nil
}

// Close removes the spool, unless it has become a bundle.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.take().abort()
}

// become reports whether the spool is now the tar of p, as far as its layers go, whose contents begin at offsets. If not, it is as it was.
func (s *Spool) become(p *plan, offsets []int64) bool {
	first := len(p.items) - len(s.layers)
	if s.file == nil || s.front == 0 || len(s.layers) == 0 || first < 0 {
		return false
	}
	begin := offsets[first] - tarBlockBytes
	for i, l := range s.layers {
		if !l.complete || l.entry.Path != p.items[first+i].name || l.offset-s.front != offsets[first+i]-begin {
			return false
		}
	}
	return begin <= s.front && begin%layerAlignment == 0 && collapse(s.file.File, begin, s.front-begin) == nil
}

// take hands the file over to whom makes the bundle of it.
func (s *Spool) take() *wholeFile {
	file := s.file
	s.file = nil
	return file
}

// carriedLayers are the layers among blobs, which are merged, that a delta since what a site has carries. A nil since has nothing.
func carriedLayers(blobs []Blob, since *Inventory) []Entry {
	held := since.sizes()
	var layers []Entry
	for _, b := range blobs {
		if size, has := held[b.Digest]; b.Role == RoleLayer && !(has && size == b.Size) {
			layers = append(layers, entryOfBlob(b))
		}
	}
	return layers
}

// bytesBeforeLayers is what the blobs that are no layers take at most, with the signatures; not the manifest.
func bytesBeforeLayers(blobs []Blob) int64 {
	total := int64(MaxSignatures)*2*entryBytes(MaxSignatureBytes) + tarBlockBytes
	for _, b := range blobs {
		if b.Role != RoleLayer {
			total += entryBytes(b.Size)
		}
	}
	return total
}

// aligned is the next multiple of layerAlignment.
func aligned(n int64) int64 { return (n + layerAlignment - 1) / layerAlignment * layerAlignment }
