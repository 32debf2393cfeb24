package pki

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// Base names of the files under Paths.TLS and Paths.AgentPKI, for those who point components to them.
const (
	ClusterCA          = "ca"
	ClusterCABundle    = "ca-bundle" // a certificate only
	FrontProxyCA       = "front-proxy-ca"
	FrontProxyCABundle = "front-proxy-ca-bundle" // a certificate only
	APIServer          = "apiserver"
	KubeletClient      = "apiserver-kubelet-client"
	FrontProxyClient   = "front-proxy-client"
	ServiceAccount     = "sa"

	controllerManager = "controller-manager"
	scheduler         = "scheduler"
	supervisor        = "supervisor"
	kubeProxy         = "kube-proxy"
	networkPolicy     = "network-policy"
	kubeletServing    = "kubelet"
	agentCA           = "ca"

	adminGroup = "system:masters"
)

// ControllerManagerConfig is the controller manager's kubeconfig.
func ControllerManagerConfig(p config.Paths) string {
	return filepath.Join(p.Cred(), controllerManager+".kubeconfig")
}

// SchedulerConfig is the scheduler's kubeconfig.
func SchedulerConfig(p config.Paths) string { return filepath.Join(p.Cred(), scheduler+".kubeconfig") }

// SupervisorConfig is the kubeconfig of what airgap itself runs beside the controllers. Unlike the
// administrator's it names files, so whoever uses it follows renewed certificates.
func SupervisorConfig(p config.Paths) string {
	return filepath.Join(p.Cred(), supervisor+".kubeconfig")
}

// Prepare makes, or renews, every credential that the server needs before it can
// start, and those of the agent beside it. It needs no network and no API server, is
// idempotent, and may be called while the server runs.
func (i Issuer) Prepare(cfg *config.Server) error {
	paths := config.PathsOf(cfg.DataDir)
	for _, dir := range []string{paths.Server(), paths.TLS(), paths.Cred(), paths.Manifests(), paths.AgentPKI()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	unlock, err := lock(paths)
	if err != nil {
		return err
	}
	defer unlock()

	tls := folder(paths.TLS())
	if err := resumeRotation(paths); err != nil {
		return err
	}
	for name, commonName := range authorities {
		if err := i.authority(tls, name, commonName); err != nil {
			return err
		}
		if err := writeBundle(paths, name); err != nil {
			return err
		}
	}
	leaves, err := serverLeaves(cfg)
	if err != nil {
		return err
	}
	for _, l := range leaves {
		if err := i.ensure(tls, tls, l); err != nil {
			return err
		}
	}
	if err := tls.keyPair(ServiceAccount); err != nil {
		return err
	}
	for _, name := range []string{controllerManager, scheduler, supervisor} {
		file := filepath.Join(paths.Cred(), name+".kubeconfig")
		if err := writeKubeconfig(file, cfg.URL(), tls.cert(ClusterCABundle), tls.cert(name), tls.key(name)); err != nil {
			return err
		}
	}
	mode, err := strconv.ParseUint(cfg.KubeconfigMode, 8, 32)
	if err != nil {
		return fmt.Errorf("write-kubeconfig-mode: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Kubeconfig), 0o755); err != nil {
		return err
	}
	if err := i.ensureAdmin(paths, cfg.URL(), cfg.Kubeconfig, os.FileMode(mode)); err != nil {
		return err
	}
	if cfg.DisableAgent {
		return nil
	}
	return i.prepareAgent(cfg, paths)
}

// authorities are the two authorities by the names of their files, with their common names.
var authorities = map[string]string{ClusterCA: "airgap-ca", FrontProxyCA: "airgap-front-proxy-ca"}

// serverLeaves are the certificates of the control plane.
func serverLeaves(cfg *config.Server) ([]leaf, error) {
	serving, err := apiServerLeaf(cfg)
	if err != nil {
		return nil, err
	}
	client := func(name, commonName string, organization ...string) leaf {
		return leaf{name: name, authority: ClusterCA, commonName: commonName, organization: organization, usages: clientAuth}
	}
	return []leaf{
		serving,
		client(KubeletClient, "kube-apiserver-kubelet-client", adminGroup),
		client(controllerManager, "system:kube-controller-manager"),
		client(scheduler, "system:kube-scheduler"),
		client(supervisor, "system:airgap-supervisor", adminGroup),
		{name: FrontProxyClient, authority: FrontProxyCA, commonName: "front-proxy-client", usages: clientAuth},
	}, nil
}

// apiServerLeaf names the API server's serving certificate: every name and address by which
// it can be reached.
func apiServerLeaf(cfg *config.Server) (leaf, error) {
	service, err := cfg.FirstServiceAddress()
	if err != nil {
		return leaf{}, err
	}
	l := leaf{
		name: APIServer, authority: ClusterCA, commonName: "kube-apiserver", usages: serverAuth,
		dnsNames: []string{
			"localhost", cfg.NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc." + cfg.ClusterDomain,
		},
		addresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, service.AsSlice()},
	}
	names := slices.Concat(strings.Split(cfg.NodeIP, ","), strings.Split(cfg.NodeExternalIP, ","), []string{cfg.AdvertiseAddress, cfg.BindAddress})
	for _, name := range append(names, cfg.TLSSANs...) {
		if ip := net.ParseIP(name); ip != nil {
			if !ip.IsUnspecified() {
				l.addresses = append(l.addresses, ip)
			}
		} else if name != "" {
			l.dnsNames = append(l.dnsNames, name)
		}
	}
	return l, nil
}

// lock keeps two processes, the server and a verb, from making credentials at once.
func lock(paths config.Paths) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(paths.TLS(), ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { f.Close() }, nil
}
