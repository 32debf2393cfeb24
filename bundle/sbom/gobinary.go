package sbom

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime/debug"
	"strings"
)

const (
	minimumELFBytes = 64 << 10
	// windowBytes is how much of an executable is looked through at once.
	windowBytes = maxBuildInfoBytes + 256<<10
	// maxBuildInfoBytes bounds the build information; Kubernetes' has some 20 KB.
	maxBuildInfoBytes = 1 << 20
)

// Go's mark of build information, at a multiple of 16 bytes, and what stands after it since Go 1.18: flags, then at byte 32 the
// version and the module information, each with its length before it. Source: debug/buildinfo.
const (
	buildInfoMagic      = "\xff Go buildinf:"
	buildInfoAlign      = 16
	buildInfoFlagsAt    = 15
	buildInfoHeader     = 32
	buildInfoInline     = 2  // in the flags: the strings follow
	buildInfoSentinel   = 16 // bytes of a mark before and after the module information
	elfMagic            = "\x7fELF"
	standardLibraryName = "stdlib"
)

// executables looks for build information in one file after the other. It streams, in one window: an executable can be larger than the
// memory that there is.
type executables struct{ window []byte }

// packages returns the modules that an executable was built from, read to its end or to the build information. Files that
// are no ELF, or not made by Go, have none.
func (x *executables) packages(r io.Reader) ([]Package, error) {
	head := make([]byte, len(elfMagic))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != elfMagic {
		return nil, ignoreEnd(err)
	}
	if x.window == nil {
		x.window = make([]byte, 0, windowBytes)
	}
	x.window = append(x.window[:0], head...)
	for from := 0; ; {
		ended, err := x.fill(r)
		if err != nil {
			return nil, err
		}
		at := bytes.Index(x.window[from:], []byte(buildInfoMagic))
		switch {
		case at < 0 && ended:
			return nil, nil
		case at < 0:
			x.drop(len(x.window) - len(buildInfoMagic))
			from = 0
			continue
		}
		from += at
		if from%buildInfoAlign == 0 {
			if len(x.window)-from < maxBuildInfoBytes && !ended {
				x.drop(from)
				from = 0
				if _, err := x.fill(r); err != nil {
					return nil, err
				}
			}
			if found := parseBuildInfo(x.window[from:]); found != nil {
				return found, nil
			}
		}
		from++
	}
}

// fill reads until the window is full or the file has ended.
func (x *executables) fill(r io.Reader) (ended bool, err error) {
	n, err := io.ReadFull(r, x.window[len(x.window):cap(x.window)])
	x.window = x.window[:len(x.window)+n]
	return err != nil && cap(x.window) > len(x.window), ignoreEnd(err)
}

// drop forgets what is before at, but for what keeps the window at a multiple of the alignment.
func (x *executables) drop(at int) {
	at -= at % buildInfoAlign
	x.window = append(x.window[:0], x.window[at:]...)
}

func ignoreEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// parseBuildInfo reads build information that begins with the mark. It returns nil for what only looks like it.
func parseBuildInfo(data []byte) []Package {
	if len(data) < buildInfoHeader || data[buildInfoFlagsAt]&buildInfoInline == 0 {
		return nil
	}
	version, rest := lengthPrefixed(data[buildInfoHeader:])
	if !strings.HasPrefix(version, "go") {
		return nil
	}
	found := []Package{{Kind: Go, Name: standardLibraryName, Version: strings.TrimPrefix(version, "go")}}
	modules, _ := lengthPrefixed(rest)
	if len(modules) < 2*buildInfoSentinel {
		return found
	}
	info, err := debug.ParseBuildInfo(modules[buildInfoSentinel : len(modules)-buildInfoSentinel])
	if err != nil {
		return found
	}
	for _, module := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if module.Replace != nil {
			module = module.Replace
		}
		if module.Path != "" {
			found = append(found, Package{Kind: Go, Name: module.Path, Version: module.Version})
		}
	}
	return found
}

// lengthPrefixed reads a string with its length as a varint before it. A string that is not whole is empty.
func lengthPrefixed(data []byte) (text string, rest []byte) {
	length, n := binary.Uvarint(data)
	if n <= 0 || length > uint64(len(data)-n) {
		return "", nil
	}
	return string(data[n : n+int(length)]), data[n+int(length):]
}
