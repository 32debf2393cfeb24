// Package corefile loads a Corefile whose imported files may be broken.
//
// Users of a cluster add to its DNS by files, the keys of a ConfigMap. A mistake in one of them
// must not leave the cluster without DNS: CoreDNS keeps its old configuration when a new one is
// bad, but has none to keep when it starts. So the files are tried before they are used, all
// at once and, if that fails, one after the other; those that are bad are left out until they
// change.
//
// A trial is all of a start but the listening, in a process of its own, for many plugins leave traces in
// the one that sets them up.
package corefile

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
)

// A Loader loads the Corefile at Path for CoreDNS, at its start and whenever the plugin reload looks
// for changes.
type Loader struct {
	Path  string                                   // absolute
	Try   func(path string, corefile []byte) error // finds out whether CoreDNS would start with it
	Tell  func(file string, why error)             // tells of an imported file that is left out, once per change
	known [sha256.Size]byte                        // what the last answer was for
	last  []byte                                   // the last answer
}

// Load is CoreDNS' [caddy.Loader].
func (l *Loader) Load(serverType string) (caddy.Input, error) {
	base, err := os.ReadFile(l.Path)
	if err != nil {
		return nil, err
	}
	files, sum, err := imports(base)
	if err != nil {
		return nil, err
	}
	if l.last == nil || l.known != sum {
		l.last, l.known = l.choose(base, files), sum
	}
	return caddy.CaddyfileInput{Contents: l.last, Filepath: l.Path, ServerTypeName: serverType}, nil
}

// choose returns the Corefile with the imported files that are good. If it is bad without any of them, it
// is returned as it is, for CoreDNS to complain about.
func (l *Loader) choose(base []byte, files []string) []byte {
	files = slices.DeleteFunc(files, func(file string) bool {
		err := closed(file)
		if err != nil {
			l.Tell(file, err)
		}
		return err != nil
	})
	all := compose(base, files)
	if l.Try(l.Path, all) == nil || len(files) == 0 || l.Try(l.Path, compose(base, nil)) != nil {
		return all
	}
	var good []string
	for _, file := range files {
		if err := l.Try(l.Path, compose(base, append(slices.Clone(good), file))); err != nil {
			l.Tell(file, err)
			continue
		}
		good = append(good, file)
	}
	return compose(base, good)
}

// closed says of a file whether it closes what it opens, and nothing else: a brace too many would close
// the server block that imports it, and CoreDNS might start with what is left of it.
func closed(file string) error {
	text, err := os.Open(file)
	if err != nil {
		return err
	}
	defer text.Close()
	open, opened := 0, 0
	for tokens := caddyfile.NewDispenser(file, text); tokens.Next(); {
		switch tokens.Val() {
		case "{":
			open, opened = open+1, tokens.Line()
		case "}":
			open--
		}
		if open < 0 {
			return fmt.Errorf("%s:%d: a closing brace without an opening one", filepath.Base(file), tokens.Line())
		}
	}
	if open > 0 {
		return fmt.Errorf("%s:%d: an opening brace without a closing one", filepath.Base(file), opened)
	}
	return nil
}

// imports lists the files that a Corefile imports by absolute patterns, in the order of their lines, and
// a sum over it and them.
func imports(base []byte) (files []string, sum [sha256.Size]byte, err error) {
	content := sha256.New()
	content.Write(base)
	for line := range bytes.Lines(base) {
		pattern, _, found := pattern(line)
		if !found {
			continue
		}
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return nil, sum, fmt.Errorf("import %s: %w", pattern, err)
		}
		for _, file := range matches {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, sum, err
			}
			fmt.Fprintf(content, "\x00%s\x00%d\x00", file, len(text))
			content.Write(text)
			files = append(files, file)
		}
	}
	return files, [sha256.Size]byte(content.Sum(nil)), nil
}

// compose returns the Corefile with each pattern replaced by those of the files that it matches.
func compose(base []byte, files []string) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(base) {
		pattern, indent, found := pattern(line)
		if !found {
			b.Write(line)
			continue
		}
		for _, file := range files {
			if matches, err := filepath.Match(pattern, file); err == nil && matches {
				fmt.Fprintf(&b, "%simport %s\n", indent, file)
			}
		}
	}
	return b.Bytes()
}

// pattern returns the absolute path or pattern that a line imports, and the line's indentation.
func pattern(line []byte) (pattern, indent string, found bool) {
	text := string(line)
	fields := strings.Fields(text)
	if len(fields) != 2 || fields[0] != "import" || !filepath.IsAbs(fields[1]) {
		return "", "", false
	}
	return fields[1], text[:strings.Index(text, "import")], true
}
