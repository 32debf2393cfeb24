package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"

	"airgap/registry"
	"airgap/registry/distribution"
)

// passFrom answers with what one node gives. After an error nothing has been written.
func (p *peers) passFrom(w http.ResponseWriter, r *http.Request, route distribution.Route, address string) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	response, err := p.request(ctx, r.Method, r, route, address)
	if err != nil {
		return errors.New(reason(err))
	}
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		response.Body.Close()
		return errBusy
	case response.StatusCode >= 400 && response.StatusCode != http.StatusRequestedRangeNotSatisfiable:
		response.Body.Close()
		return fmt.Errorf("it answered %s", response.Status)
	}
	if route.Kind == distribution.Manifests && r.Method == http.MethodGet && response.StatusCode == http.StatusOK {
		if err := holdManifest(response, route); err != nil {
			p.avoid(address, distrustFor)
			return err
		}
	}
	body := &checkedBody{ReadCloser: response.Body, watchdog: time.AfterFunc(peerStallTimeout, cancel), distrust: func() { p.avoid(address, distrustFor) }}
	defer body.watchdog.Stop()
	if route.Kind == distribution.Blobs && r.Method == http.MethodGet && response.StatusCode == http.StatusOK && route.Digest.Algorithm() == "sha256" {
		body.hash, body.want = sha256.New(), route.Digest.Encoded()
	}
	response.Body = body
	pass(w, r, response)
	return nil
}

// holdManifest reads a manifest and holds it against its digest: the one that was asked for, or, for a tag, the one that
// the node names.
func holdManifest(response *http.Response, route distribution.Route) error {
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, registry.MaxMetadataBytes+1))
	if err != nil {
		return err
	}
	want := response.Header.Get("Docker-Content-Digest")
	if route.Digest != "" {
		want = route.Digest.String()
	}
	sum := sha256.Sum256(data)
	if strings.HasPrefix(want, "sha256:") && want != "sha256:"+hex.EncodeToString(sum[:]) {
		return fmt.Errorf("it gave other bytes as %s", want)
	}
	response.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// checkedBody is a blob on its way from a node. containerd checks the digest and refuses; this is to know who it was.
type checkedBody struct {
	io.ReadCloser
	watchdog *time.Timer
	hash     hash.Hash // nil: a part of the blob, or nothing to check
	want     string
	distrust func()
}

func (b *checkedBody) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	if n > 0 {
		b.watchdog.Reset(peerStallTimeout)
	}
	if b.hash != nil {
		b.hash.Write(data[:n])
		if err == io.EOF && hex.EncodeToString(b.hash.Sum(nil)) != b.want {
			b.distrust()
			return n, errors.New("the node gave other bytes than the digest's")
		}
	}
	return n, err
}
