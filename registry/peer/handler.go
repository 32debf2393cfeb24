package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"airgap/internal/site"
	"airgap/registry/internal/transfer"
)

const (
	// maxUploads is how many large bodies a machine gives at once, maxUploadsPerClient how many of them to one other. A tracker
	// asks for fewer; this is for peers that ask without one.
	maxUploads          = 16
	maxUploadsPerClient = 6
	// largeBytes is the size from which a body counts among them.
	largeBytes = 1 << 20
	// retryAfter is what a client of a machine with enough uploads is told to wait, in seconds.
	retryAfter = 2
)

// Content is what a machine can give of bundles and images. An error is [fs.ErrNotExist] if it does not have the
// thing. The files are read only, and closed by the caller.
type Content interface {
	// List lists the bundles that the machine holds whole, in the order of installation.
	List() ([]site.Bundle, error)
	// File opens a bundle's manifest or one of its signatures.
	File(bundleDigest, name string) (*os.File, error)
	// Blob opens any blob, "sha256:…", which is whole and verified.
	Blob(digest string) (*os.File, error)
}

// Handler answers peers: nodes, that is, which show a certificate as one ([ServerTLS]).
type Handler struct {
	content Content
	images  http.Handler
	lets    func(*http.Request) bool // isNode, but in tests

	mu      sync.Mutex
	uploads int            // large bodies under way
	clients map[string]int // the same for each client
}

// NewHandler makes a handler of what content holds. images answers /v2/, to whomever it lets in itself; it is nil on a machine whose
// containerd does not run yet.
func NewHandler(content Content, images http.Handler) *Handler {
	return &Handler{content: content, images: images, lets: isNode, clients: map[string]int{}}
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = transfer.Writer(w, r)
	path := r.URL.Path
	if h.images != nil && (path == "/v2" || strings.HasPrefix(path, "/v2/")) {
		h.image(w, r)
		return
	}
	if !h.lets(r) {
		refuse(w, http.StatusForbidden, site.CodeRequest, "only nodes of the cluster may ask: show a certificate of organization %s", site.NodesGroup)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, site.CodeRequest, "%s: peers can read here, and no more", r.Method)
		return
	}
	if digest, ok := strings.CutPrefix(path, site.PathBlobs); ok {
		file, err := h.content.Blob(digest)
		h.send(w, r, file, err, digest)
		return
	}
	if rest, ok := strings.CutPrefix(path, site.PathBundles+"/"); ok {
		digest, name, _ := strings.Cut(rest, "/")
		file, err := h.content.File(digest, name)
		h.send(w, r, file, err, "")
		return
	}
	if path == site.PathBundles {
		h.list(w)
		return
	}
	refuse(w, http.StatusNotFound, site.CodeRequest, "%s is nothing that a peer gives", path)
}

func (h *Handler) list(w http.ResponseWriter) {
	bundles, err := h.content.List()
	if err != nil {
		refuse(w, http.StatusInternalServerError, site.CodeServer, "list bundles: %v", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(site.BundleList{Bundles: bundles}) // the client has gone
}

// send answers with a file, or with why there is none. digest is the file's, if it is known.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, file *os.File, err error, digest string) {
	if errors.Is(err, fs.ErrNotExist) {
		refuse(w, http.StatusNotFound, site.CodeRequest, "%s is not here", r.URL.Path)
		return
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, site.CodeServer, "%v", err)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		refuse(w, http.StatusInternalServerError, site.CodeServer, "%v", err)
		return
	}
	if info.Size() >= largeBytes && r.Method == http.MethodGet {
		if !h.begin(w, r) {
			return
		}
		defer h.end(r)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if digest != "" {
		w.Header().Set("Etag", strconv.Quote(digest))
	}
	http.ServeContent(w, r, "", time.Time{}, file)
}

// image passes a request of the distribution API on. How large a blob is shows only later, so each counts as large.
func (h *Handler) image(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		if !h.begin(w, r) {
			return
		}
		defer h.end(r)
	}
	h.images.ServeHTTP(w, r)
}

// begin takes one of the places for large bodies, or refuses.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request) bool {
	client := clientOf(r)
	h.mu.Lock()
	full := h.uploads >= maxUploads || h.clients[client] >= maxUploadsPerClient
	if !full {
		h.uploads++
		h.clients[client]++
	}
	h.mu.Unlock()
	if full {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		refuse(w, http.StatusServiceUnavailable, site.CodeBusy, "this machine gives %d large blobs at once, %d of them to one other; ask another machine, or again in %d s",
			maxUploads, maxUploadsPerClient, retryAfter)
	}
	return !full
}

func (h *Handler) end(r *http.Request) {
	client := clientOf(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uploads--
	if h.clients[client]--; h.clients[client] == 0 {
		delete(h.clients, client)
	}
}

// clientOf is who asks: a node by its name, anybody else by the address.
func clientOf(r *http.Request) string {
	if isNode(r) {
		return r.TLS.PeerCertificates[0].Subject.CommonName
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// refuse answers with a [site.Error].
func refuse(w http.ResponseWriter, status int, code, format string, args ...any) {
	body, err := json.Marshal(site.Error{Code: code, Message: fmt.Sprintf(format, args...)})
	if err != nil { // strings always marshal
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone
}
