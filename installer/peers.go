package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"airgap/bundle"
	"airgap/internal/site"
	"airgap/node/config"
	"airgap/registry"
	"airgap/registry/peer"
	"airgap/registry/retained"
)

// handOver is how long others may go on taking what they are taking when the node's own listener takes over.
const handOver = 2 * time.Second

// peers are the other nodes of the cluster: this machine takes bundles from them, and gives what it has verified to those that
// are being installed at the same time.
type peers struct {
	paths    config.Paths
	port     int
	fetcher  *peer.Fetcher
	client   *site.Client
	retained *retained.Folder

	server    *http.Server                    // nil: not listening
	importing atomic.Pointer[registry.Import] // what goes on now
}

// openPeers gets ready to take from the nodes of the cluster. The machine's credentials are there.
func openPeers(o *Options, paths config.Paths, cluster site.Cluster) (*peers, error) {
	p := &peers{paths: paths, port: o.Server.PeerPort, retained: retained.Open(paths.Bundles(), paths.ContentBlobs())}
	authorities, err := p.authorities()
	if err != nil {
		return nil, err
	}
	if p.client, err = nodeClient(o.Join.Server, paths.AgentPKI()); err != nil {
		return nil, err
	}
	kubelet := filepath.Join(paths.AgentPKI(), site.FileKubelet)
	config, err := site.TLSConfig(authorities, site.CertificateFiles(kubelet, kubelet))
	if err != nil {
		return nil, err
	}
	p.fetcher, err = peer.NewFetcher(peer.FetcherOptions{
		Tracker: p.client, TLS: config, Peers: cluster.Peers, Address: p.address(), Dir: p.spool(), StallTimeout: o.stall,
	})
	return p, err
}

func (p *peers) authorities() ([]byte, error) {
	return os.ReadFile(filepath.Join(p.paths.AgentPKI(), site.FileAuthorities))
}

// address is where this machine serves what it has: the server knows the rest of it.
func (p *peers) address() string { return net.JoinHostPort("", fmt.Sprint(p.port)) }

// spool is where what was fetched waits to be imported. It is beside the credentials rather than the installer's own files: both
// are there before an install begins.
func (p *peers) spool() string { return filepath.Join(p.paths.Agent(), "incoming") }

// remote reads one of the cluster's bundles.
func (p *peers) remote(b site.Bundle) *remote { return &remote{peers: p, bundle: b} }

// close ends everything, and removes the spool unless another run is to go on with it.
func (p *peers) close(done bool) error {
	p.endServing(context.Background())
	p.client.Close()
	err := p.fetcher.Close()
	if done {
		err = errors.Join(err, os.RemoveAll(p.spool()))
	}
	return err
}

// serve begins to give other machines what this one has.
func (p *peers) serve(i *registry.Import) error {
	p.importing.Store(i)
	if p.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.address())
	if err != nil {
		return fmt.Errorf("listen for other machines: %w; choose another port with --peer-port", err)
	}
	stem := filepath.Join(p.paths.AgentPKI(), site.FileServing)
	tls := peer.ServerTLS(p.authorities, site.CertificateFiles(stem+".crt", stem+".key"))
	p.server = peer.NewServer(peer.NewHandler(p, nil), tls, log.New(io.Discard, "", 0))
	go func(s *http.Server) { _ = s.ServeTLS(listener, "", "") }(p.server) // until it is closed
	return nil
}

// endServing frees the port for the node, whose agent has all that this machine had to give.
func (p *peers) endServing(ctx context.Context) {
	if p.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOver)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		_ = p.server.Close() // those that were taking something go on with another machine
	}
	p.server = nil
}

// List implements [peer.Content]: a bundle that is being installed is not here whole.
func (p *peers) List() ([]site.Bundle, error) { return p.retained.List() }

// File implements [peer.Content].
func (p *peers) File(bundleDigest, name string) (*os.File, error) {
	return p.retained.File(bundleDigest, name)
}

// Blob implements [peer.Content]. While it is imported a blob goes from the spool to the import or the staging folder, and from
// there to where the node keeps it: it is looked for in this order.
func (p *peers) Blob(dgst string) (*os.File, error) {
	if err := digest.Digest(dgst).Validate(); err != nil {
		return nil, fmt.Errorf("%.80q: %w", dgst, fs.ErrNotExist)
	}
	places := []func() (*os.File, error){
		func() (*os.File, error) { return p.fetcher.Blob(dgst) },
		func() (*os.File, error) {
			if i := p.importing.Load(); i != nil {
				return i.Open(dgst)
			}
			return nil, fs.ErrNotExist
		},
		func() (*os.File, error) { return os.Open(filepath.Join(p.paths.Install(), stagingName, hexOf(dgst))) },
		func() (*os.File, error) { return p.retained.Blob(dgst) },
	}
	for _, open := range places {
		file, err := open()
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, fmt.Errorf("%s: %w", dgst, fs.ErrNotExist)
}

// seemsHere says whether a file of an entry's digest and size is on this machine: of an install that was interrupted, or of an
// image that it had before.
func (p *peers) seemsHere(e bundle.Entry) bool {
	return base{p.paths}.Has(e)
}

// placesOf are the files that hold an entry if this machine has it.
func placesOf(p config.Paths, e bundle.Entry) []string {
	return []string{
		filepath.Join(p.ContentBlobs(), e.SHA256),
		filepath.Join(p.Install(), stagingName, e.SHA256),
		filepath.Join(p.Bundles(), "blobs", e.SHA256),
	}
}

// here opens an entry that is on this machine and holds what it should; nil if there is none.
func (p *peers) here(e bundle.Entry) (*os.File, error) {
	for _, path := range placesOf(p.paths, e) {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		good, err := verifyFile(file, e)
		if err == nil && good {
			return file, nil
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
