package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"airgap/bundle"
	"airgap/internal/blobcache"
)

// Stdin is the location that means standard input.
const Stdin = "-"

// Options are what some media need beside their location. The zero value is enough for files and servers.
type Options struct {
	Stdin   io.Reader        // what [Stdin] reads
	Cache   *blobcache.Cache // keeps what comes from registries, so that a download that was killed goes on; may be nil
	PartsIn []string         // folders, or URLs of such, where parts are looked for beside that of the first one

	// Ask asks a person for the medium with a part, and returns the folder where to look as well, or "" to look again where it
	// should be. nil: there is nobody to ask, and a missing part is an error before anything is read.
	Ask func(ctx context.Context, want MissingPart) (folder string, err error)
}

// MissingPart is a part that is not where it was looked for.
type MissingPart struct {
	Name   string   // site.airgap.002
	Number int      // from 1
	Count  int      // of all parts; 0 while that is not known
	In     []string // where it is not
	Reason error    // why one that is there will not do; nil if there is none
}

// missingError says which parts are missing where.
type missingError struct {
	names []string
	in    []string
}

func (m *missingError) Error() string {
	verb := "is"
	if len(m.names) > 1 {
		verb = "are"
	}
	return fmt.Sprintf("%s %s not in %s", strings.Join(m.names, ", "), verb, strings.Join(m.in, " or "))
}

// Is makes a missing part a missing file.
func (m *missingError) Is(target error) bool { return target == fs.ErrNotExist }

// Open opens the bundle at a location (see the package comment) and verifies its manifest. ctx is for all reading until the
// Reader is closed. The error is [fs.ErrNotExist] if there is no such thing.
func Open(ctx context.Context, location string, trust bundle.Trust, opts Options) (*bundle.Reader, error) {
	r, err := open(ctx, location, trust, opts)
	if err != nil && !strings.Contains(err.Error(), Name(location)) {
		return nil, fmt.Errorf("%s: %w", Name(location), err)
	}
	return r, err
}

func open(ctx context.Context, location string, trust bundle.Trust, opts Options) (*bundle.Reader, error) {
	if p := openPipe(ctx, location, opts); p != nil {
		return bundle.OpenTar(p, trust)
	}
	switch scheme, rest := cut(location); {
	case scheme == "oci":
		return openRegistry(ctx, rest, trust, opts.Cache)
	case IsPart(location):
		return openParts(ctx, location, trust, opts)
	case scheme != "":
		stream, err := openURL(ctx, location)
		if err != nil {
			return nil, err
		}
		return bundle.OpenTar(stream, trust)
	}
	_, err := os.Stat(location)
	if errors.Is(err, fs.ErrNotExist) {
		first := bundle.PartName(location, 1)
		if _, err := os.Stat(first); err == nil {
			return openParts(ctx, first, trust, opts)
		}
	}
	return bundle.Open(location, trust)
}

// cut splits off the scheme of a location that is no path.
func cut(location string) (scheme, rest string) {
	for _, scheme := range []string{"http", "https", "oci"} {
		if rest, found := strings.CutPrefix(location, scheme+"://"); found {
			return scheme, rest
		}
	}
	return "", location
}

// IsPath says whether a location is a path of this machine.
func IsPath(location string) bool {
	scheme, _ := cut(location)
	return scheme == "" && location != Stdin
}

// Name is a location as it may be shown: without a password, and in words.
func Name(location string) string {
	switch scheme, _ := cut(location); {
	case location == Stdin:
		return "standard input"
	case scheme == "http" || scheme == "https":
		if parsed, err := url.Parse(location); err == nil {
			return parsed.Redacted()
		}
	}
	return location
}

// partSuffix is what the name of a part ends in.
var partSuffix = regexp.MustCompile(`\.([0-9]{3})$`)

// IsPart says whether a location is that of a part.
func IsPart(location string) bool { return partSuffix.MatchString(location) }

// openParts opens the parts of which first is the location of the first.
func openParts(ctx context.Context, first string, trust bundle.Trust, opts Options) (*bundle.Reader, error) {
	number, _ := strconv.Atoi(partSuffix.FindStringSubmatch(first)[1])
	whole := partSuffix.ReplaceAllString(first, "")
	if number != 1 {
		return nil, fmt.Errorf("it is part %d: name the first part, %s; %w", number, bundle.PartName(whole, 1), ErrNotFirst)
	}
	at, name, err := folderOf(whole)
	if err != nil {
		return nil, err
	}
	p := &parts{ctx: ctx, name: name, folders: []folder{at}, ask: opts.Ask}
	for _, place := range opts.PartsIn {
		if at, _, err = folderOf(strings.TrimSuffix(place, "/") + "/" + name); err != nil {
			return nil, err
		}
		p.folders = append(p.folders, at)
	}
	if err := p.next(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return bundle.OpenTar(p, trust)
}

// ErrNotFirst says that a part was named which is not the first.
var ErrNotFirst = errors.New("the others are found by it")

// folderOf splits a location into its folder and the name in it.
func folderOf(location string) (folder, string, error) {
	if IsPath(location) {
		return localFolder(filepath.Dir(location)), filepath.Base(location), nil
	}
	parsed, err := url.Parse(location)
	if err != nil {
		return nil, "", err
	}
	slash := strings.LastIndex(parsed.Path, "/")
	name := parsed.Path[slash+1:]
	parsed.Path, parsed.RawPath = parsed.Path[:slash+1], ""
	return urlFolder{parsed}, name, nil
}
