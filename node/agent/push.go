package agent

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"airgap/internal/site"
	"airgap/node/imageaccess"
	"airgap/registry"
	"airgap/registry/copies"
	"airgap/registry/distribution"
)

// siteImages is the registry of what is pushed at the site, as this node has it.
type siteImages struct {
	*distribution.Site
	members *members
	copies  *copies.Copies
	api     kubernetes.Interface
	peerTLS *tls.Config // shows this node's certificate
}

// newSiteImages makes it; [siteImages.run] keeps it. Neither containerd nor the API server need run yet.
func (a *agent) newSiteImages(client *containerd.Client) (*siteImages, error) {
	pki := func(name string) string { return filepath.Join(a.paths.AgentPKI(), name) }
	authorities, err := os.ReadFile(pki(site.FileAuthorities))
	if err != nil {
		return nil, err
	}
	peerTLS, err := site.TLSConfig(authorities, site.CertificateFiles(pki(site.FileKubelet), pki(site.FileKubelet)))
	if err != nil {
		return nil, err
	}
	identity, err := clientcmd.BuildConfigFromFlags("", a.kubelet)
	if err != nil {
		return nil, err
	}
	identity = rest.CopyConfig(identity)
	identity.QPS, identity.Burst = 50, 100
	api, err := kubernetes.NewForConfig(identity)
	if err != nil {
		return nil, err
	}
	s := &siteImages{members: &members{self: a.config.NodeName, port: a.config.PeerPort}, api: api, peerTLS: peerTLS}
	s.copies = copies.New(copies.Options{
		Self: a.config.NodeName, Nodes: s.members.all, Copies: a.config.RegistryCopies, Blobs: client.ContentStore(),
		Client: &http.Client{Transport: &http.Transport{
			TLSClientConfig: peerTLS, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
		}},
		Report: func(err error) { klog.InfoS("pushed images", "trouble", err) },
	})
	s.Site = distribution.NewSite(distribution.SiteOptions{
		Images: client.ImageService(), Blobs: client.ContentStore(), Leases: client.LeasesService(), Folder: a.paths.ContentBlobs(),
		Space:  func(need int64) error { return registry.RequirePushSpace(a.paths.Containerd(), need) },
		Others: s.copies,
	})
	return s, nil
}

// run keeps the node's part of the site's images until ctx is done. containerd runs by now.
func (s *siteImages) run(ctx context.Context) {
	go s.members.follow(ctx, s.api)
	go s.copies.Run(ctx, s.Site)
	s.Site.Run(ctx, func(err error) { klog.InfoS("pushed images", "trouble", err) })
}

// handler answers everybody beyond this node's containerd.
func (s *siteImages) handler(a *agent, client *containerd.Client) http.Handler {
	return &distribution.Registry{
		Node: distribution.Handler{Content: distribution.Content{
			Images: client.ImageService(), Blobs: client.ContentStore(), Folder: a.paths.ContentBlobs(),
		}},
		Site: s.Site, Port: a.config.PeerPort, Authorizer: imageaccess.New(s.api),
	}
}
