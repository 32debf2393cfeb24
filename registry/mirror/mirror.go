package mirror

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"

	"airgap/registry"
	"airgap/registry/distribution"
)

// Mirror is the handler that containerd asks.
type Mirror struct {
	local      distribution.Handler
	registries func() *Registries // of this moment
	options    Options
	upstream   *upstream
	peers      *peers // nil: none
}

// New makes a mirror of what content holds and the registries, asked for at each request, lead to.
func New(content distribution.Content, registries func() *Registries, o Options) *Mirror {
	m := &Mirror{
		local: distribution.Handler{Content: content}, registries: registries, options: o,
		upstream: &upstream{
			clients: map[clientKey]*http.Client{}, authorizers: map[string]authorizer{}, unreachable: map[string]failure{}, now: time.Now,
		},
	}
	if o.Peers != nil {
		m.peers = newPeers(o.Peers, o.PeerTLS)
	}
	return m
}

// ServeHTTP answers one request.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, err := distribution.ParseRoute(r)
	if err != nil {
		distribution.WriteError(w, err)
		return
	}
	route = route.AtSite(m.options.SitePort)
	if err := m.serve(w, r, route); err != nil {
		if err.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="airgap"`)
		}
		distribution.WriteError(w, err)
	}
}

func (m *Mirror) serve(w http.ResponseWriter, r *http.Request, route distribution.Route) *distribution.Error {
	if m.options.Site != nil && route.Registry == distribution.SiteHost {
		return m.serveSite(w, r, route)
	}
	if m.copyMayBeOld(r, route) && m.ask(w, r, route, m.endpoints(route), true, "") == nil {
		return nil
	}
	elsewhere := route.Kind == distribution.Referrers && !m.local.HoldsRepository(r.Context(), route)
	if !elsewhere {
		err := m.local.Serve(w, r, route)
		if err == nil {
			return nil
		}
		var e *distribution.Error
		if !errors.As(err, &e) {
			e = &distribution.Error{Status: http.StatusInternalServerError, Code: distribution.CodeUnavailable, Message: err.Error()}
		}
		if e.Status != http.StatusNotFound {
			return e
		}
	}
	said := ""
	if m.peers != nil {
		var ok bool
		if ok, said = m.peers.serve(w, r, route); ok {
			return nil
		}
	}
	return m.ask(w, r, route, m.endpoints(route), false, said)
}

// serveSite answers for what was pushed at the site, which nobody but the site has.
func (m *Mirror) serveSite(w http.ResponseWriter, r *http.Request, route distribution.Route) *distribution.Error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &distribution.Error{Status: http.StatusMethodNotAllowed, Code: distribution.CodeUnsupported, Message: "images are pushed to the node's port for peers, not here"}
	}
	err := m.options.Site.Serve(w, r, route)
	var e *distribution.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.Status == http.StatusNotFound && route.Kind == distribution.Manifests:
		// See outcome.error for this status.
		return &distribution.Error{Status: http.StatusForbidden, Code: e.Code, Message: fmt.Sprintf("no node of the site that can be reached has %s; push it again, or start the nodes that have it", route)}
	case errors.As(err, &e):
		return e
	}
	return &distribution.Error{Status: http.StatusInternalServerError, Code: distribution.CodeUnavailable, Message: err.Error()}
}

// copyMayBeOld tells whether a tag names something here that no bundle brought.
func (m *Mirror) copyMayBeOld(r *http.Request, route distribution.Route) bool {
	if route.Kind != distribution.Manifests || route.Digest != "" {
		return false
	}
	image, err := m.local.Content.Image(r.Context(), route)
	return err == nil && image.Labels[registry.LabelPinned] != registry.Pinned
}

// ask tries the endpoints in order and passes on the first answer that has what was asked for. If there is
// none, nothing has been written. peersSaid is what came of asking other nodes, for the error.
func (m *Mirror) ask(w http.ResponseWriter, r *http.Request, route distribution.Route, list []endpoint, mirrorsOnly bool, peersSaid string) *distribution.Error {
	outcome := outcome{peers: peersSaid}
	for _, e := range list {
		if mirrorsOnly && !e.mirrors {
			continue
		}
		for _, c := range candidates(r, e) {
			response, err := m.upstream.do(r, e, route, c)
			if err != nil {
				outcome.failed(e, err)
				break
			}
			if response.StatusCode < 400 || response.StatusCode == http.StatusRequestedRangeNotSatisfiable {
				pass(w, r, response)
				return nil
			}
			response.Body.Close()
			if !outcome.refused(e, response) {
				break
			}
		}
	}
	_, _, gaveCredentials := r.BasicAuth()
	return outcome.error(route, gaveCredentials)
}

// candidates are the credentials to try on an endpoint: those configured, then those of the pod's pull secret, or none.
func candidates(r *http.Request, e endpoint) []*credentials {
	var list []*credentials
	if e.access.auth != nil {
		list = append(list, e.access.auth)
	}
	if username, secret, ok := r.BasicAuth(); ok {
		list = append(list, &credentials{username, secret})
	}
	if len(list) == 0 {
		return []*credentials{nil}
	}
	return list
}

// outcome is what became of asking several endpoints.
type outcome struct {
	peers     string   // ", nor does any other node"; empty if none was asked
	asked     []string // "host: why not", in order
	unclear   bool     // one of them did not say whether it has it
	forbidden bool     // one of them wants other credentials
}

func (o *outcome) failed(e endpoint, err error) {
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden) {
		o.forbidden = true
	}
	o.unclear = true
	o.asked = append(o.asked, e.root.Host+": "+reason(err))
}

// refused notes an answer that is an error, and tells whether other credentials may help.
func (o *outcome) refused(e endpoint, response *http.Response) bool {
	denied := response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden
	o.forbidden = o.forbidden || denied
	o.unclear = o.unclear || response.StatusCode != http.StatusNotFound && !denied
	why := "it answered " + response.Status
	switch {
	case denied:
		why = "access to " + e.name + " is denied"
	case response.StatusCode == http.StatusNotFound:
		why = "it does not have " + e.name
	}
	o.asked = append(o.asked, e.root.Host+": "+why)
	return denied
}

// error is the answer when no endpoint had what was asked for.
func (o *outcome) error(route distribution.Route, gaveCredentials bool) *distribution.Error {
	text := fmt.Sprintf("this node does not hold %s%s", route, o.peers)
	switch {
	case len(o.asked) == 0:
		return &distribution.Error{Status: http.StatusNotFound, Code: distribution.CodeManifestUnknown,
			Message: text + ", and there is no registry to ask for it; install a bundle with it"}
	case o.forbidden:
		status := http.StatusUnauthorized
		if gaveCredentials {
			status = http.StatusForbidden
		}
		return &distribution.Error{Status: status, Code: distribution.CodeUnauthorized, Message: text + "; " + strings.Join(o.asked, "; ")}
	case !o.unclear:
		return &distribution.Error{Status: http.StatusNotFound, Code: distribution.CodeManifestUnknown, Message: text + "; " + strings.Join(o.asked, "; ")}
	}
	status := http.StatusBadGateway
	if route.Kind == distribution.Manifests {
		// An answer to HEAD carries no reason. For this status alone containerd asks again with
		// GET (withGETErrorBody in core/remotes/docker), and its user reads why.
		status = http.StatusForbidden
	}
	return &distribution.Error{Status: status, Code: distribution.CodeUnavailable,
		Message: text + ", and no registry gives it: " + strings.Join(o.asked, "; ") +
			". Install a bundle with it, or name a mirror that can be reached in registries.yaml"}
}

// passed are the headers of an answer that containerd must see.
var passed = []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Docker-Content-Digest", "Etag",
	"Last-Modified", "Oci-Filters-Applied", "Oci-Subject", "Warning"}

// pass streams an endpoint's answer on.
func pass(w http.ResponseWriter, r *http.Request, response *http.Response) {
	defer response.Body.Close()
	for _, name := range passed {
		if values := response.Header.Values(name); len(values) > 0 {
			w.Header()[name] = values
		}
	}
	if next := nextPage(r, response); next != "" {
		w.Header().Set("Link", next)
	}
	w.WriteHeader(response.StatusCode)
	if _, err := io.Copy(w, response.Body); err != nil {
		panic(http.ErrAbortHandler) // what was sent is not whole, and the client must see that
	}
}

// nextPage is the link to a list's next page, on this mirror and not at the endpoint.
func nextPage(r *http.Request, response *http.Response) string {
	link, rest, ok := strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<"), ">")
	if !ok || !strings.Contains(rest, "next") {
		return ""
	}
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	query := u.Query()
	if ns := r.URL.Query().Get("ns"); ns != "" {
		query.Set("ns", ns)
	}
	return "<" + r.URL.Path + "?" + query.Encode() + `>; rel="next"`
}
