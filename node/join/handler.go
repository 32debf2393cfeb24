package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"airgap/internal/hostinfo"
	"airgap/internal/site"
	"airgap/node/config"
	"airgap/node/pki"
)

const (
	// transferTimeout bounds the reading of a request's body, and the writing of the answer.
	transferTimeout = 10 * time.Second
	// requestTimeout bounds the work for one request. Clients wait for 30 s.
	requestTimeout = 25 * time.Second
	// maxRequestBytes bounds all requests but exchanges: a join has about 2 KiB.
	maxRequestBytes = 64 << 10
	// maxKnown is how many requests of those who have shown who they are run at once; others wait.
	maxKnown = 64
)

// Options are what a [Handler] works with.
type Options struct {
	Config     *config.Server // complete
	Client     kubernetes.Interface
	Airgap     string        // version of this executable
	Kubernetes string        // version of the API server, "v1.37.1+airgap1"
	Host       hostinfo.Host // this machine, to know its clones
	Exchange   http.Handler  // answers [site.PathExchange] to nodes of the cluster; nil: nobody does
	Log        *slog.Logger
	Issuer     pki.Issuer
	Now        func() time.Time // nil: time.Now
}

// Handler answers the API of [airgap/internal/site]. Before [Handler.Run] runs it gives the cluster's authorities and nothing else.
type Handler struct {
	Options
	paths  config.Paths
	guard  guard
	known  chan struct{}
	routes map[string]route
	names  names
	nodes  cache.SharedIndexInformer // of the cluster, see trimNode; runs with Run

	transfer, draining time.Duration                   // transferTimeout, drainTime
	run                atomic.Pointer[context.Context] // that of Run; nil: it does not run
}

// route is one path that takes POST.
type route struct {
	authenticate func(ctx context.Context, r *http.Request) (node string, err error)
	maxBytes     int64
	answer       func(ctx context.Context, c call) (any, error) // nil: Options.Exchange
}

// call is one request whose sender is known.
type call struct {
	from string // address, for the log
	node string // name of the node; empty for a join
	body []byte
}

// New returns a handler.
func New(o Options) *Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Handler{Options: o, paths: config.PathsOf(o.Config.DataDir), known: make(chan struct{}, maxKnown), transfer: transferTimeout, draining: drainTime}
	h.guard = guard{now: o.Now, log: o.Log}
	h.names = names{client: o.Client, now: o.Now, log: o.Log}
	if !o.Config.DisableAgent {
		h.names.own = o.Config.NodeName
	}
	h.nodes = informers.NewSharedInformerFactoryWithOptions(o.Client, 0, informers.WithTransform(trimNode)).Core().V1().Nodes().Informer()
	h.routes = map[string]route{
		site.PathJoin:  {h.byToken, maxRequestBytes, h.join},
		site.PathRenew: {h.byCertificate, maxRequestBytes, h.renew},
		site.PathLeave: {h.byCertificate, maxRequestBytes, h.leave},
	}
	if o.Exchange != nil {
		h.routes[site.PathExchange] = route{authenticate: h.byCertificate, maxBytes: site.MaxMessageBytes}
	}
	return h
}

// Before returns a handler that takes the paths of this API and leaves all others to next.
func (h *Handler) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == site.PathAuthorities || strings.HasPrefix(r.URL.Path, site.PathAPI) {
			h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.recover(w, r)
	if r.URL.Path == site.PathAuthorities {
		h.serveAuthorities(w, r)
		return
	}
	answer, err := h.serve(w, r)
	switch {
	case err != nil:
		h.refuse(w, r, err)
	case answer != nil:
		data, err := json.Marshal(answer)
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		h.write(w, http.StatusOK, "application/json", data)
	}
}

func (h *Handler) serveAuthorities(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuse(w, r, refusal(http.StatusMethodNotAllowed, site.CodeRequest, "%s takes GET alone", r.URL.Path))
		return
	}
	leave, ok := h.guard.enter(r.RemoteAddr)
	if !ok {
		h.refuse(w, r, errCrowd)
		return
	}
	defer leave()
	bundle, err := os.ReadFile(filepath.Join(h.paths.TLS(), pki.ClusterCABundle+".crt"))
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.write(w, http.StatusOK, "application/x-pem-file", bundle)
}

// serve answers a POST. Neither an answer nor an error means that it has been answered.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (answer any, err error) {
	way, ok := h.routes[r.URL.Path]
	if !ok {
		return nil, refusal(http.StatusNotFound, site.CodeRequest, "there is no %s here", r.URL.Path)
	}
	if r.Method != http.MethodPost {
		return nil, refusal(http.StatusMethodNotAllowed, site.CodeRequest, "%s takes POST alone", r.URL.Path)
	}
	run := h.run.Load()
	if run == nil {
		return nil, refusal(http.StatusServiceUnavailable, site.CodeBusy, "the server is starting; try again in a moment")
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	defer context.AfterFunc(*run, cancel)()

	c := call{from: r.RemoteAddr}
	if c.node, err = h.admit(ctx, way, r); err != nil {
		return nil, err
	}
	select {
	case h.known <- struct{}{}:
		defer func() { <-h.known }()
	case <-ctx.Done():
		return nil, errLate
	}
	if c.body, err = h.read(w, r, way.maxBytes); err != nil {
		return nil, err
	}
	if way.answer == nil {
		r = r.WithContext(ctx)
		r.Body = io.NopCloser(strings.NewReader(string(c.body)))
		h.Exchange.ServeHTTP(w, r)
		return nil, nil
	}
	if answer, err = way.answer(ctx, c); err != nil && ctx.Err() != nil {
		h.Log.Warn("a request is given up: its time is over, or the server stops", "path", r.URL.Path, "node", c.node, "from", c.from, "error", err)
		return nil, errLate
	}
	return answer, err
}

// errLate is for work that did not end in time.
var errLate = refusal(http.StatusServiceUnavailable, site.CodeBusy, "the server has too much to do, or is stopping; try again in a moment")

// admit finds out who asks. Until that is known one takes a place among the few that each address has.
func (h *Handler) admit(ctx context.Context, way route, r *http.Request) (node string, err error) {
	leave, ok := h.guard.enter(r.RemoteAddr)
	if !ok {
		return "", errCrowd
	}
	defer leave()
	return way.authenticate(ctx, r)
}

// read returns the body of a request, if it comes in time and is not too long.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(h.transfer)); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, refusal(http.StatusRequestEntityTooLarge, site.CodeRequest, "the request has more than %d bytes", limit)
	case err != nil:
		return nil, refusal(http.StatusRequestTimeout, site.CodeRequest, "the request did not come whole within %s", h.transfer)
	}
	// Else the time would be up for the connection too, while the work is done.
	return body, control.SetReadDeadline(time.Time{})
}

// write answers. Somebody who does not read the answer is not waited for.
func (h *Handler) write(w http.ResponseWriter, status int, contentType string, data []byte) {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(h.transfer)) // where there is none, the API server's own bounds hold
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(data) // who asks is gone: nobody is left to tell
	_ = control.Flush()
	_ = control.SetWriteDeadline(time.Time{})
}

// refusal is an error that is told to whoever asks.
func refusal(status int, code, format string, args ...any) *site.Error {
	return &site.Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// refuse answers with an error. What is no refusal is the server's own failure, which the log has, and the other
// side gets no details of.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var told *site.Error
	if !errors.As(err, &told) {
		h.Log.Error("a request of another machine failed", "path", r.URL.Path, "from", r.RemoteAddr, "error", err)
		told = refusal(http.StatusInternalServerError, site.CodeServer, "the server failed; its log says why")
	}
	var wait *waitError
	if errors.As(err, &wait) {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.wait.Seconds())+1))
	}
	// A body that was not read may be endless, and come slowly.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.transfer))
	w.Header().Set("Connection", "close")
	data, _ := json.Marshal(told) // two strings: cannot fail
	h.write(w, told.Status, "application/json", data)
}

// recover keeps a fault in the handling of one request from all others.
func (h *Handler) recover(w http.ResponseWriter, r *http.Request) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler {
		panic(fault)
	}
	h.Log.Error("the handling of a request panicked", "path", r.URL.Path, "from", r.RemoteAddr, "panic", fault, "stack", string(debug.Stack()))
	h.refuse(w, r, refusal(http.StatusInternalServerError, site.CodeServer, "the server failed; its log says why"))
}
