package mirror

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"airgap/registry/distribution"
)

// Limits of time.
const (
	// dialTimeout bounds finding a host's address and connecting to it. A configured endpoint is
	// believed to exist, so a slow link to it gets more time than the Internet's registries.
	dialTimeout       = 1500 * time.Millisecond
	dialTimeoutMirror = 4 * time.Second
	// unreachableFor is how long a host that could not be reached is not tried again: one pull makes several requests.
	unreachableFor = 5 * time.Second
)

// endpoint is one place that is asked for an image.
type endpoint struct {
	root    *url.URL // "https://host/v2"
	name    string   // of the repository there
	access  access
	dial    time.Duration
	mirrors bool // named in registries.yaml
}

// Options of a mirror besides registries.yaml.
type Options struct {
	// DisableDefaultEndpoint leaves out the registry itself where registries.yaml has a mirror of it.
	DisableDefaultEndpoint bool
	// SystemRegistry ("registry.site:5000/path") has the system images that no bundle brought; empty: nothing has.
	SystemRegistry string
	// SystemHost is the registry in the system images' names. It exists nowhere.
	SystemHost string
	// Site has what was pushed at the site: every image under [distribution.SiteHost], or under the name of any node with SitePort.
	// If nil nothing is pushed.
	Site interface {
		Serve(w http.ResponseWriter, r *http.Request, route distribution.Route) error
	}
	SitePort int
	// Peers lists the peer ports of the cluster's other nodes at this moment, "address:port"; nil: nobody is asked.
	Peers func(context.Context) []string
	// PeerTLS is how they are talked to; nil: without TLS.
	PeerTLS *tls.Config
}

// endpoints lists where an image is asked for, in order.
func (m *Mirror) endpoints(route distribution.Route) []endpoint {
	var list []endpoint
	registries := m.registries()
	configured, mirrored := registries.mirrorFor(route.Registry)
	for _, root := range configured.endpoints {
		list = append(list, endpoint{
			root: root, name: configured.apply(route.Name), access: registries.accessFor(root.Host),
			dial: dialTimeoutMirror, mirrors: true,
		})
	}
	if mirrored && m.options.DisableDefaultEndpoint {
		return list
	}
	if route.Registry != m.options.SystemHost {
		return append(list, registries.itself(route))
	}
	if m.options.SystemRegistry != "" {
		host, prefix, _ := strings.Cut(m.options.SystemRegistry, "/")
		name := strings.TrimPrefix(prefix+"/"+route.Name, "/")
		list = append(list, endpoint{
			root: &url.URL{Scheme: scheme(host), Host: host, Path: "/v2"}, name: name,
			access: registries.accessFor(host), dial: dialTimeoutMirror, mirrors: true,
		})
	}
	return list
}

// itself is the registry that an image's name begins with, as containerd finds it.
func (r *Registries) itself(route distribution.Route) endpoint {
	host := route.Registry
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	return endpoint{
		root: &url.URL{Scheme: scheme(host), Host: host, Path: "/v2"}, name: route.Name,
		access: r.accessFor(host, route.Registry), dial: dialTimeout,
	}
}

// scheme is http for a registry on this machine with a port of its own, like containerd's.
func scheme(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip := net.ParseIP(name)
	if (name == "localhost" || ip != nil && ip.IsLoopback()) && port != "" && port != "443" {
		return "http"
	}
	return "https"
}
