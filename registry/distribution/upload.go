package distribution

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"airgap/registry"
)

const (
	// maxUploads bounds the uploads that are going on at once, each of which has a buffer and an open file.
	maxUploads = 128
	// uploadBuffer is how much of a body is read, checked against the disk's space and stored at a time.
	uploadBuffer = 256 << 10
	// uploadPrefix is that of the names of uploads' leases and of what they write.
	uploadPrefix = "airgap-upload-"
)

// upload is a blob that is being pushed. Its writer stays open between requests: what it has hashed need not be read again.
// A restart of this process ends it, and the client begins anew.
type upload struct {
	id, repository string
	lease          leases.Lease
	writer         content.Writer
	ctx            context.Context // with the namespace and the lease
	cancel         context.CancelFunc

	mu     sync.Mutex // held by the request that writes
	offset int64
	used   time.Time
	ended  bool
}

func (u *upload) ref() string { return uploadPrefix + u.id }

// serveUpload answers what the specification's sections "Pushing blobs" and "Mounting a blob" have.
func (s *Site) serveUpload(w http.ResponseWriter, r *http.Request, route Route) error {
	if route.Reference == "" {
		if r.Method != http.MethodPost {
			return newError(http.StatusMethodNotAllowed, CodeUnsupported, "an upload is begun with POST")
		}
		return s.beginUpload(w, r, route)
	}
	s.mu.Lock()
	u := s.uploads[route.Reference]
	s.mu.Unlock()
	if u == nil || u.repository != route.Name {
		return newError(http.StatusNotFound, CodeBlobUploadUnknown, "there is no upload %s of %s: it has ended, or the node was restarted; begin it again", route.Reference, route.Name)
	}
	if !u.mu.TryLock() {
		return newError(http.StatusConflict, CodeBlobUploadInvalid, "another request is writing to the upload %s", u.id)
	}
	defer u.mu.Unlock()
	if u.ended {
		return newError(http.StatusNotFound, CodeBlobUploadUnknown, "the upload %s has ended", u.id)
	}
	u.used = s.options.Now()
	switch r.Method {
	case http.MethodGet:
		u.progress(w, r)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		if err := s.receive(w, r, u); err != nil {
			return err
		}
		u.progress(w, r)
		w.WriteHeader(http.StatusAccepted)
		return nil
	case http.MethodPut:
		d, err := parseBlobDigest(r.URL.Query().Get("digest"))
		if err != nil {
			return err
		}
		if err := s.receive(w, r, u); err != nil {
			return err
		}
		return s.finishUpload(w, r, u, d)
	case http.MethodDelete:
		s.endUpload(u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return newError(http.StatusMethodNotAllowed, CodeUnsupported, "%s is no method for an upload", r.Method)
}

// beginUpload answers POST: a mount, a whole blob, or the place to send one to.
func (s *Site) beginUpload(w http.ResponseWriter, r *http.Request, route Route) error {
	query := r.URL.Query()
	if mount, from := query.Get("mount"), query.Get("from"); mount != "" && from != "" {
		if done, err := s.mount(w, r, route, mount, from); done || err != nil {
			return err
		}
	}
	var d digest.Digest
	if text := query.Get("digest"); text != "" {
		var err error
		if d, err = parseBlobDigest(text); err != nil {
			return err
		}
	}
	u, err := s.newUpload(r.Context(), route.Name)
	if err != nil {
		return err
	}
	if d == "" {
		u.progress(w, r)
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := s.receive(w, r, u); err != nil {
		s.endUpload(u)
		return err
	}
	return s.finishUpload(w, r, u, d)
}

func (s *Site) newUpload(ctx context.Context, repository string) (*upload, error) {
	if err := s.options.Space(0); err != nil {
		return nil, explainSpace(err)
	}
	u := &upload{id: uuid(), repository: repository, used: s.options.Now()}
	s.mu.Lock()
	if len(s.uploads) >= maxUploads {
		s.mu.Unlock()
		return nil, newError(http.StatusTooManyRequests, CodeTooManyRequests, "%d uploads are going on at this node, and it takes no more at once", maxUploads)
	}
	s.uploads[u.id] = u
	s.mu.Unlock()
	u.ctx, u.cancel = context.WithCancel(s.inNamespace(context.WithoutCancel(ctx)))
	u.lease = leases.Lease{ID: u.ref()}
	u.ctx = leases.WithLease(u.ctx, u.lease.ID)
	_, err := s.options.Leases.Create(u.ctx, leases.WithID(u.lease.ID))
	if err == nil {
		u.writer, err = s.options.Blobs.Writer(u.ctx, content.WithRef(u.ref()))
	}
	if err != nil {
		s.endUpload(u)
		return nil, fmt.Errorf("begin an upload of %s: %w", repository, err)
	}
	return u, nil
}

// progress says how far an upload has come.
func (u *upload) progress(w http.ResponseWriter, r *http.Request) {
	location := "/v2/" + u.repository + "/blobs/uploads/" + u.id
	if ns := r.URL.Query().Get("ns"); ns != "" {
		location += "?ns=" + ns
	}
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Upload-UUID", u.id)
	w.Header().Set("Range", "0-"+strconv.FormatInt(max(u.offset-1, 0), 10))
	w.Header().Set("Content-Length", "0")
}

var contentRange = regexp.MustCompile(`^(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]+|\*))?$`)

// receive appends a request's body to an upload. What came of a body that breaks off is kept: the client asks how far it got.
func (s *Site) receive(w http.ResponseWriter, r *http.Request, u *upload) error {
	if text := r.Header.Get("Content-Range"); text != "" {
		bounds := contentRange.FindStringSubmatch(text)
		if bounds == nil {
			return newError(http.StatusBadRequest, CodeBlobUploadInvalid, "Content-Range: %q is not <first>-<last>", text)
		}
		first, _ := strconv.ParseInt(bounds[1], 10, 64) // the pattern bounds both
		last, _ := strconv.ParseInt(bounds[2], 10, 64)
		if first != u.offset {
			u.progress(w, r)
			w.Header().Del("Content-Length")
			return newError(http.StatusRequestedRangeNotSatisfiable, CodeBlobUploadInvalid, "the chunk begins at %d, and %d is next", first, u.offset)
		}
		if r.ContentLength >= 0 && last-first+1 != r.ContentLength {
			return newError(http.StatusBadRequest, CodeSizeInvalid, "Content-Range %s has not the length of the body, %d", text, r.ContentLength)
		}
	}
	if err := s.options.Space(max(r.ContentLength, 0)); err != nil {
		return explainSpace(err)
	}
	deadline := http.NewResponseController(w)
	buffer := make([]byte, uploadBuffer)
	for end := error(nil); end == nil; {
		// Not every server has deadlines; one that does must not wait for ever.
		_ = deadline.SetReadDeadline(time.Now().Add(readTimeout))
		var n int
		n, end = fill(buffer, r.Body)
		if end != nil && end != io.EOF {
			end = newError(http.StatusBadRequest, CodeBlobUploadInvalid, "the body broke off after %d bytes of the blob: %v", u.offset+int64(n), end)
		}
		if err := s.append(u, buffer[:n]); err != nil {
			return err
		}
		if end != nil && end != io.EOF {
			return end
		}
	}
	_ = deadline.SetReadDeadline(time.Time{})
	u.used = s.options.Now()
	return nil
}

// append stores what was read of a body.
func (s *Site) append(u *upload, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if err := s.options.Space(int64(len(data))); err != nil {
		return explainSpace(err)
	}
	if _, err := u.writer.Write(data); err != nil {
		s.endUpload(u)
		return explainSpace(fmt.Errorf("store the upload %s: %w", u.id, err))
	}
	u.offset += int64(len(data))
	return nil
}

// fill reads until buffer is full or r ends.
func fill(buffer []byte, r io.Reader) (n int, err error) {
	for n < len(buffer) && err == nil {
		var more int
		more, err = r.Read(buffer[n:])
		n += more
	}
	return n, err
}

// finishUpload gives an upload its name, once it has the digest that the client says.
func (s *Site) finishUpload(w http.ResponseWriter, r *http.Request, u *upload, d digest.Digest) error {
	defer s.endUpload(u)
	err := u.writer.Commit(u.ctx, u.offset, d)
	switch {
	case errdefs.IsFailedPrecondition(err), errdefs.IsInvalidArgument(err):
		return newError(http.StatusBadRequest, CodeDigestInvalid, "the %d bytes of the upload have not the digest %s", u.offset, d)
	case err != nil && !errdefs.IsAlreadyExists(err):
		return explainSpace(fmt.Errorf("store the blob %s: %w", d, err))
	}
	if err := s.hold(r.Context(), u.repository, d); err != nil {
		return fmt.Errorf("store the blob %s: %w", d, err)
	}
	blobCreated(w, r, u.repository, d)
	return nil
}

func blobCreated(w http.ResponseWriter, r *http.Request, repository string, d digest.Digest) {
	location := "/v2/" + repository + "/blobs/" + d.String()
	if ns := r.URL.Query().Get("ns"); ns != "" {
		location += "?ns=" + ns
	}
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// mount lets a blob of one repository be one of another. Where it cannot, an upload is the answer.
func (s *Site) mount(w http.ResponseWriter, r *http.Request, route Route, text, from string) (done bool, err error) {
	d, err := parseBlobDigest(text)
	if err != nil {
		return false, err
	}
	if !namePattern.MatchString(from) {
		return false, nil
	}
	ctx, end, err := s.lease(r.Context())
	if err != nil {
		return false, err
	}
	defer end()
	if err := s.keep(ctx, d); err != nil {
		return false, err
	}
	if ok, err := s.has(ctx, from, d); !ok || err != nil {
		return false, err
	}
	if err := s.hold(ctx, route.Name, d); err != nil {
		return false, err
	}
	blobCreated(w, r, route.Name, d)
	return true, nil
}

// parseBlobDigest accepts SHA-256 alone: it is what containerd verifies.
func parseBlobDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil || d.Algorithm() != digest.SHA256 {
		return "", newError(http.StatusBadRequest, CodeDigestInvalid, "digest %q: want sha256:<64 hexadecimal digits>", text)
	}
	return d, nil
}

// explainSpace makes a full disk the answer 507.
func explainSpace(err error) error {
	if errors.Is(err, registry.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return newError(http.StatusInsufficientStorage, CodeUnavailable, "%v", err)
	}
	return err
}

// uuid is a random UUID (RFC 9562, version 4).
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
