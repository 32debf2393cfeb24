package distribution

import (
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Kind is what a request asks for.
type Kind string

// Kinds of requests, by the path's element after the name.
const (
	Base      Kind = "base" // /v2/ itself
	Manifests Kind = "manifests"
	Blobs     Kind = "blobs"
	Uploads   Kind = "uploads"
	Tags      Kind = "tags"
	Referrers Kind = "referrers"
	Catalog   Kind = "_catalog" // the repositories that were pushed
	Records   Kind = "_records" // for other nodes: what was pushed, and when
)

// SiteHost is the registry of what was pushed at a site, the same on each of its nodes.
const SiteHost = "registry.airgap.internal"

// Route is a parsed request path with its registry.
type Route struct {
	Kind      Kind
	Registry  string // host, with a port if it has one: "docker.io"; empty for Base, Catalog and Records
	Name      string // repository on that registry: "library/nginx"
	Reference string // tag or digest; of Uploads the session, empty to begin one; empty for Tags
	Digest    digest.Digest
}

// Repository is the full name of the repository: "docker.io/library/nginx".
func (r Route) Repository() string { return r.Registry + "/" + r.Name }

// String is the full reference as users write it: "docker.io/library/nginx:1.29".
func (r Route) String() string {
	switch {
	case r.Kind == Base, r.Kind == Catalog, r.Kind == Records:
		return "/v2/"
	case r.Digest != "":
		return r.Repository() + "@" + r.Digest.String()
	case r.Reference != "":
		return r.Repository() + ":" + r.Reference
	}
	return r.Repository()
}

// AtSite returns the route with [SiteHost] as its registry if that is a node of the site by any name: what
// tells a node's registry is its port.
func (r Route) AtSite(port int) Route {
	if _, text, err := net.SplitHostPort(r.Registry); err == nil && text == strconv.Itoa(port) {
		r.Registry = SiteHost
	}
	return r
}

// The grammars of the specification, section "Pulling manifests".
var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// maxNameBytes is the longest repository that reference.Parse takes.
const maxNameBytes = 255

// ParseRoute reads a request's path and its ns parameter. The error is an [*Error].
func ParseRoute(r *http.Request) (Route, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2")
	if !ok || rest != "" && rest[0] != '/' {
		return Route{}, newError(http.StatusNotFound, CodeUnsupported, "%s is not of this API: paths begin with /v2/", r.URL.Path)
	}
	rest = strings.TrimPrefix(rest, "/")
	if rest == "" {
		return Route{Kind: Base}, nil
	}
	if rest == string(Catalog) || rest == string(Records) {
		return Route{Kind: Kind(rest)}, nil
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return Route{}, newError(http.StatusNotFound, CodeUnsupported, "%s is no path of this API", r.URL.Path)
	}
	route := Route{Name: strings.Join(parts[:len(parts)-2], "/"), Kind: Kind(parts[len(parts)-2]), Reference: parts[len(parts)-1]}
	if name, ok := strings.CutSuffix(route.Name, "/"+string(Blobs)); ok && route.Kind == Uploads {
		route.Name = name
	}
	if err := route.setRegistry(r.URL.Query().Get("ns")); err != nil {
		return Route{}, err
	}
	switch route.Kind {
	case Manifests:
		if tagPattern.MatchString(route.Reference) {
			return route, nil
		}
		return route, route.setDigest(CodeManifestUnknown)
	case Blobs, Referrers:
		return route, route.setDigest(CodeDigestInvalid)
	case Uploads:
		return route, nil
	case Tags:
		if route.Reference == "list" {
			route.Reference = ""
			return route, nil
		}
	}
	return Route{}, newError(http.StatusNotFound, CodeUnsupported, "%s is no path of this API", r.URL.Path)
}

// setRegistry checks the name, and takes the registry from ns or else from the name's first element, if that is a
// host. A name without a registry is of the site's own.
func (r *Route) setRegistry(ns string) error {
	if ns == "" {
		ns = SiteHost
		if host, name, ok := strings.Cut(r.Name, "/"); ok && (strings.Contains(host, ".") || host == "localhost") {
			ns, r.Name = host, name
		}
	}
	r.Registry = ns
	if len(r.Name) > maxNameBytes || !namePattern.MatchString(r.Name) {
		return newError(http.StatusBadRequest, CodeNameInvalid, "%q is no repository name", r.Name)
	}
	named, err := reference.ParseNamed(r.Repository())
	if err != nil || reference.Domain(named) != ns {
		return newError(http.StatusBadRequest, CodeNameInvalid, "%q is no registry host", ns)
	}
	return nil
}

func (r *Route) setDigest(code string) error {
	d, err := digest.Parse(r.Reference)
	if err != nil {
		status := http.StatusBadRequest
		if code == CodeManifestUnknown {
			status = http.StatusNotFound // neither a tag nor a digest names any manifest
		}
		return newError(status, code, "%q is no digest", r.Reference)
	}
	r.Digest = d
	return nil
}
