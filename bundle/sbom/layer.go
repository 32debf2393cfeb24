package sbom

import (
	"archive/tar"
	"bufio"
	"fmt"
	"hash/fnv"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"airgap/internal/compression"
	"airgap/internal/gunzip"
)

const (
	// maxDatabaseBytes bounds a file that is held in memory: dpkg's database of a large image has some 3 MB.
	maxDatabaseBytes = 32 << 20
	// maxZstdBytes bounds the window of a zstd layer, and with it the memory to decode one.
	maxZstdBytes = 128 << 20
)

// Layer is what one image layer says about software, and what it hides of the layers below.
type Layer struct {
	files   map[string]file // those that say something, by path without a leading slash
	others  map[uint64]bool // hashes of the paths of others that may take the place of such a file
	removed []string        // paths, with everything below them
	opaque  []string        // folders of which nothing below this layer is left

	programs executables
}

// file is what one file says.
type file struct {
	packages []Package
	system   System
}

// Package is one piece of software.
type Package struct {
	Kind    Kind
	Name    string // "libssl3", or a Go module's path
	Version string
	Arch    string // as the package manager writes it; empty for Go
	Origin  string // the source package; empty if it is the same, or unknown
}

// Kind is what a package is one of: the type in its package URL.
type Kind string

// The kinds that are read.
const (
	Debian Kind = "deb"
	Alpine Kind = "apk"
	Go     Kind = "golang"
)

// System is the distribution of an image: ID and VERSION_ID of its os-release.
type System struct{ ID, Version string }

// ReadLayer reads a layer to its end: a tar, plain or compressed by gzip or zstd.
func ReadLayer(r io.Reader) (*Layer, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	plain, closer, err := decompress(buffered)
	if err != nil {
		return nil, err
	}
	defer closer()
	l := &Layer{files: map[string]file{}, others: map[uint64]bool{}}
	contents := tar.NewReader(plain)
	for {
		header, err := contents.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not a tar: %w", err)
		}
		if err := l.entry(header, contents); err != nil {
			return nil, fmt.Errorf("%s: %w", header.Name, err)
		}
	}
	if _, err := io.Copy(io.Discard, plain); err != nil { // the checksum of the compression is at its end
		return nil, err
	}
	_, err = io.Copy(io.Discard, buffered)
	return l, err
}

// decompress tells the compression by its first bytes. closer frees its memory.
func decompress(r *bufio.Reader) (plain io.Reader, closer func(), err error) {
	head, err := r.Peek(compression.HeadBytes)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch compression.Of(head) {
	case compression.Gzip:
		return gunzip.NewStream(r), func() {}, nil
	case compression.Zstd:
		decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdBytes), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, err
		}
		return decoder, decoder.Close, nil
	}
	return r, func() {}, nil
}

// Names of the files by which a layer hides what is below: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// entry takes in one entry of a layer.
func (l *Layer) entry(header *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	folder, base := path.Split(name)
	folder = strings.TrimSuffix(folder, "/")
	switch {
	case base == whiteoutOpaque:
		l.opaque = append(l.opaque, folder)
		return nil
	case strings.HasPrefix(base, whiteoutPrefix):
		l.removed = append(l.removed, path.Join(folder, strings.TrimPrefix(base, whiteoutPrefix)))
		return nil
	case header.Typeflag != tar.TypeReg:
		if header.Typeflag != tar.TypeDir {
			l.removed = append(l.removed, name) // whatever it is, it takes the place of a file below
		}
		return nil
	}
	var found file
	var err error
	switch parse := parserOf(name); {
	case parse != nil:
		data, readErr := io.ReadAll(io.LimitReader(r, maxDatabaseBytes+1))
		if readErr != nil {
			return readErr
		}
		if len(data) > maxDatabaseBytes {
			return fmt.Errorf("more than %d bytes", maxDatabaseBytes)
		}
		found = parse(data)
	case header.Size >= minimumELFBytes:
		found.packages, err = l.programs.packages(r)
	}
	if len(found.packages) > 0 || found.system != (System{}) {
		l.files[name] = found
	} else if header.Mode&0o111 != 0 || parserOf(name) != nil {
		l.others[pathHash(name)] = true
	}
	return err
}

// pathHash stands for a path that says nothing: a layer can have hundreds of thousands.
func pathHash(name string) uint64 {
	hash := fnv.New64a()
	io.WriteString(hash, name)
	return hash.Sum64()
}

// parserOf returns what reads a file of that name, nil for those that are no database.
func parserOf(name string) func([]byte) file {
	switch {
	case name == "var/lib/dpkg/status",
		strings.HasPrefix(name, "var/lib/dpkg/status.d/") && !strings.HasSuffix(name, ".md5sums"):
		return func(data []byte) file { return file{packages: debianPackages(data)} }
	case name == "lib/apk/db/installed", name == "usr/lib/apk/db/installed":
		return func(data []byte) file { return file{packages: alpinePackages(data)} }
	case name == "etc/os-release", name == "usr/lib/os-release":
		return func(data []byte) file { return file{system: osRelease(data)} }
	}
	return nil
}
