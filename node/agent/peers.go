package agent

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/net/netutil"
	"k8s.io/klog/v2"

	"airgap/internal/site"
	"airgap/registry/peer"
	"airgap/registry/retained"
)

// maxPeerConnections at once; more wait. A site that installs fifty machines has a few to each.
const maxPeerConnections = 256

// startPeers gives to the other nodes of the cluster, and to the machines that join it, what this one holds of images and
// bundles. It shows the kubelet's serving certificate, as renewed. Nodes alone are let in, but to /v2/, where images decides.
func (a *agent) startPeers(images http.Handler) (*http.Server, error) {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(a.config.PeerPort))
	if err != nil {
		return nil, fmt.Errorf("listener for peers: %w; another --peer-port may be free", err)
	}
	pki := func(name string) string { return filepath.Join(a.paths.AgentPKI(), name) }
	server := peer.NewServer(
		peer.NewHandler(retained.Open(a.paths.Bundles(), a.paths.ContentBlobs()), images),
		peer.ServerTLS(
			func() ([]byte, error) { return os.ReadFile(pki(site.FileAuthorities)) },
			site.CertificateFiles(pki(site.FileServing+".crt"), pki(site.FileServing+".key"))),
		log.New(requestLog("peers"), "", 0))
	go func() {
		if err := server.ServeTLS(netutil.LimitListener(listener, maxPeerConnections), "", ""); err != http.ErrServerClosed {
			klog.ErrorS(err, "the listener for peers ended; other machines get nothing from this one until the agent starts again")
		}
	}()
	return server, nil
}

// requestLog writes what an HTTP server of this name reports, mostly strangers that were not let in, to the agent's log.
type requestLog string

func (name requestLog) Write(line []byte) (int, error) {
	klog.V(2).InfoS("HTTP", "server", string(name), "report", string(line))
	return len(line), nil
}
