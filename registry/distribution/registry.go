package distribution

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Verb is what a request does to a repository, in Kubernetes' words.
type Verb string

// Verbs that an [Authorizer] decides on.
const (
	Login     Verb = "login"     // nothing yet: only who it is
	Get       Verb = "get"       // read
	List      Verb = "list"      // see the names of all repositories
	Create    Verb = "create"    // push, and so replace tags
	Delete    Verb = "delete"    // delete tags and manifests
	Replicate Verb = "replicate" // for nodes alone: what was pushed, and when
)

// Authorizer decides who may do what.
type Authorizer interface {
	// Authorize returns nil if who sent the request may do it. The error is an [*Error]: status 401 asks for credentials, or for better ones;
	// 403 says that these do not suffice. A repository of the site's own is "team/app", another "docker.io/library/nginx";
	// it is empty for Login, List and Replicate.
	Authorize(r *http.Request, verb Verb, repository string) error
}

// Registry is a node's registry for everybody beyond its own containerd: what the node holds of any registry can be
// read, and what belongs to the site pushed. Every request is authorized.
type Registry struct {
	Node       Handler // what the node holds for its pods
	Site       *Site
	Port       int // by which a registry's host is known to be a node of the site; see [Route.AtSite]
	Authorizer Authorizer
}

// ServeHTTP answers one request.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w = answer{w}
	}
	if err := g.serve(w, r); err != nil {
		WriteError(w, err)
	}
}

// answer is a writer for short answers, whose time begins with them: the server's may be over when a large body has come.
type answer struct{ http.ResponseWriter }

func (a answer) WriteHeader(status int) {
	// Not every server has deadlines.
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(answerTimeout))
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] find the connection.
func (a answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (g *Registry) serve(w http.ResponseWriter, r *http.Request) error {
	route, err := ParseRoute(r)
	if err != nil {
		// Who may not ask is told nothing, not even what is wrong.
		if denied := g.Authorizer.Authorize(r, Login, ""); denied != nil {
			return denied
		}
		return err
	}
	route = route.AtSite(g.Port)
	verb, repository := verbOf(r, route), route.Name
	if route.Registry != SiteHost && route.Registry != "" {
		repository = route.Repository()
	}
	if err := g.Authorizer.Authorize(r, verb, repository); err != nil {
		return err
	}
	switch {
	case route.Kind == Catalog:
		return g.catalog(w, r)
	case route.Kind == Records:
		return g.records(w, r)
	case route.Kind == Base, route.Registry != SiteHost && verb == Get:
		return g.Node.Serve(w, r, route)
	case route.Registry != SiteHost:
		return newError(http.StatusMethodNotAllowed, CodeUnsupported,
			"%s is a repository of %s, not of this site: images under such names come from bundles. Push to a name whose first element has no dot", route.Repository(), route.Registry)
	case verb == Get && g.byNode(r):
		return g.Site.ServeHeld(w, r, route)
	}
	if from := r.URL.Query().Get("from"); from != "" && g.Authorizer.Authorize(r, Get, from) != nil {
		r = withoutMount(r)
	}
	return g.Site.Serve(w, r, route)
}

// byNode tells whether another node asks, which looks at the others itself.
func (g *Registry) byNode(r *http.Request) bool {
	return g.Authorizer.Authorize(r, Replicate, "") == nil
}

func verbOf(r *http.Request, route Route) Verb {
	switch {
	case route.Kind == Base:
		return Login
	case route.Kind == Catalog:
		return List
	case route.Kind == Records:
		return Replicate
	case route.Kind == Uploads:
		return Create
	case r.Method == http.MethodDelete:
		return Delete
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return Get
	}
	return Create
}

// withoutMount is a request that does not ask for another repository's blob.
func withoutMount(r *http.Request) *http.Request {
	query := r.URL.Query()
	query.Del("mount")
	query.Del("from")
	u := *r.URL
	u.RawQuery = url.Values(query).Encode()
	r = r.WithContext(r.Context())
	r.URL = &u
	return r
}

// catalog lists the site's repositories, wherever they are. It is not of the specification, but what clients know.
func (g *Registry) catalog(w http.ResponseWriter, r *http.Request) error {
	latest, err := g.Site.latest(r.Context(), "")
	if err != nil {
		return err
	}
	repositories := []string{} // never null in JSON
	for _, record := range latest {
		if !record.Deleted {
			repositories = append(repositories, record.Repository())
		}
	}
	slices.SortFunc(repositories, strings.Compare)
	return writeJSON(w, "application/json", map[string][]string{"repositories": slices.Compact(repositories)})
}

// records tells another node what this one holds, or (POST) is told that the other has something new.
func (g *Registry) records(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		g.Site.options.Others.Wake()
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	records, err := g.Site.Records(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(records)
}
