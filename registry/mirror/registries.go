package mirror

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// wildcard is the entry for every registry, or host, that has none of its own.
const wildcard = "*"

// Registries is a registries.yaml: K3s' file, with its keys and their meaning.
type Registries struct {
	mirrors map[string]mirrorOf // by the registry's name as it stands in image references
	access  map[string]access   // by the host that is asked, with its port if it has one
}

// mirrorOf is where the images of one registry are to be found before the registry itself.
type mirrorOf struct {
	endpoints []*url.URL // roots of the API, mostly "https://host/v2"
	rewrites  []rewrite  // of the repository, for these endpoints; the first that matches is applied
}

type rewrite struct {
	pattern     *regexp.Regexp
	replacement string
}

// access is how one host is talked to.
type access struct {
	auth *credentials
	tls  *tls.Config
}

// credentials are for basic authentication, or for a token server. A token has no user name.
type credentials struct{ username, secret string }

// apiRoot is an endpoint's URL as K3s takes it: https where no scheme is given, /v2 where no path is;
// a path is used as it stands.
func apiRoot(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q: want http:// or https://", text)
	case u.Host == "":
		return nil, fmt.Errorf("%q names no host", text)
	case u.User != nil:
		return nil, fmt.Errorf("%q: credentials belong under configs", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q: want a host and at most a path", text)
	}
	u.Path = cmp.Or(strings.TrimRight(u.Path, "/"), "/v2")
	return u, nil
}

// mirrorFor returns the entry of a registry, or the wildcard's.
func (r *Registries) mirrorFor(registry string) (mirrorOf, bool) {
	if m, ok := r.mirrors[registry]; ok {
		return m, true
	}
	m, ok := r.mirrors[wildcard]
	return m, ok
}

// accessFor returns the first entry there is for the names, or the wildcard's.
func (r *Registries) accessFor(names ...string) access {
	for _, name := range append(names, wildcard) {
		if a, ok := r.access[name]; ok {
			return a
		}
	}
	return access{}
}

// apply rewrites a repository by the first rewrite that matches it.
func (m mirrorOf) apply(repository string) string {
	for _, r := range m.rewrites {
		if r.pattern.MatchString(repository) {
			return r.pattern.ReplaceAllString(repository, r.replacement)
		}
	}
	return repository
}
