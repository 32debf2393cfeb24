package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"airgap/node/config"
)

// separateComponents are upstream's programs that run a node without airgap; etcd comes from Debian, containerd from
// airgap's executable.
var separateComponents = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}

// buildComponents links upstream's programs from the very packages that airgap links, with the same flags: go build
// finds all but the last step in its cache.
func (b *bench) buildComponents(ctx context.Context) error {
	if _, err := exec.LookPath("etcd"); err != nil {
		return fmt.Errorf("%w: apt-get install etcd-server", err)
	}
	say("pods: linking %s", strings.Join(separateComponents, ", "))
	args := []string{"build", "-ldflags", "-s -w", "-o", b.built("build/bench") + "/"}
	for _, name := range separateComponents {
		args = append(args, "k8s.io/kubernetes/cmd/"+name)
	}
	if err := os.MkdirAll(b.built("build/bench"), 0o755); err != nil {
		return err
	}
	cmd := b.command(ctx, "go", args...)
	cmd.Dir = b.repository
	_, err := output(cmd)
	return err
}

// components are running processes of a node that is not airgap's.
type components struct {
	site   *site
	folder string // of etcd and the logs: the data folder is airgap's alone
	list   []*exec.Cmd
	ended  []chan struct{} // closed when it has
}

// startSeparately stops the site's node and starts upstream's components in its place, each a process
// of its own, with the node's certificates, images and kubelet configuration, an empty etcd, and a bridge for the pods. What was
// started is returned too when something fails.
func (s *site) startSeparately(ctx context.Context) (*components, error) {
	if _, _, err := s.stopService(); err != nil {
		return nil, err
	}
	if err := s.writeBridge(); err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(s.b.work, "separate-")
	if err != nil {
		return nil, err
	}
	c := &components{site: s, folder: folder}
	p := s.paths
	tls := func(name string) string { return filepath.Join(p.TLS(), name) }
	pki := func(name string) string { return filepath.Join(p.AgentPKI(), name) }
	cred := func(name string) string { return filepath.Join(p.Cred(), name) }
	bench := func(name string) string { return s.b.built(filepath.Join("build/bench", name)) }
	for _, start := range [][]string{
		{"etcd", "--data-dir", filepath.Join(folder, "etcd"), "--logger", "zap", "--log-level", "warn"},
		{filepath.Join(p.Current(), "bin/airgap"), "containerd", "--config", filepath.Join(p.AgentEtc(), "containerd.toml")},
		{bench("kube-apiserver"), "--advertise-address=" + s.IP, "--secure-port=6443", "--etcd-servers=http://127.0.0.1:2379",
			"--client-ca-file=" + tls("ca-bundle.crt"), "--tls-cert-file=" + tls("apiserver.crt"), "--tls-private-key-file=" + tls("apiserver.key"),
			"--kubelet-client-certificate=" + tls("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + tls("apiserver-kubelet-client.key"),
			"--service-account-key-file=" + tls("sa.pub"), "--service-account-signing-key-file=" + tls("sa.key"),
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-cluster-ip-range=" + config.DefaultServiceCIDR,
			"--encryption-provider-config=" + cred("encryption-config.yaml"), "--enable-admission-plugins=NodeRestriction",
			"--authorization-mode=Node,RBAC", "--allow-privileged=true"},
		{bench("kube-scheduler"), "--kubeconfig=" + cred("scheduler.kubeconfig"), "--leader-elect=false"},
		{bench("kube-controller-manager"), "--kubeconfig=" + cred("controller-manager.kubeconfig"), "--leader-elect=false",
			"--use-service-account-credentials=true", "--service-account-private-key-file=" + tls("sa.key"), "--root-ca-file=" + tls("ca-bundle.crt"),
			"--cluster-signing-cert-file=" + tls("ca.crt"), "--cluster-signing-key-file=" + tls("ca.key"),
			"--kube-api-qps=200", "--kube-api-burst=400", "--allocate-node-cidrs=true", "--cluster-cidr=" + config.DefaultClusterCIDR},
		{bench("kubelet"), "--kubeconfig=" + pki("kubelet.kubeconfig"), "--config=" + filepath.Join(p.AgentEtc(), "kubelet.yaml"), "--cert-dir=" + p.AgentPKI(),
			"--root-dir=" + p.Kubelet(), "--hostname-override=" + nodeName, "--node-ip=" + s.IP, "--" + podsNodeFlags},
		{bench("kube-proxy"), "--kubeconfig=" + pki("kube-proxy.kubeconfig"), "--hostname-override=" + nodeName, "--proxy-mode=nftables",
			"--cluster-cidr=" + config.DefaultClusterCIDR, "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"},
	} {
		if err := c.start(ctx, start[0], start[1:]...); err != nil {
			return c, err
		}
		if filepath.Base(start[0]) == "kube-apiserver" {
			if err := s.awaitAPI(ctx); err != nil { // the others would end
				return c, fmt.Errorf("%w\n%s", err, c.logs())
			}
		}
	}
	return c, nil
}

// writeBridge replaces the pods' network, which a process of airgap's has a part in, by a plain bridge.
func (s *site) writeBridge() error {
	folder := filepath.Join(s.paths.AgentEtc(), "cni", "net.d")
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	conf := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "plugins": [
	{"type": "bridge", "bridge": %q, "isGateway": true, "hairpinMode": true,
	 "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.42.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	{"type": "portmap", "capabilities": {"portMappings": true}}]}`, s.paths.ID, config.PodBridge, s.paths.CNIState())
	return os.WriteFile(filepath.Join(folder, "10-bridge.conflist"), []byte(conf), 0o600)
}

// awaitAPI waits until the API server answers.
func (s *site) awaitAPI(ctx context.Context) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	return await(ctx, time.Minute, func(ctx context.Context) error {
		_, err := client.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// start starts one of them in the site's network, with the tools that the node carries.
func (c *components) start(ctx context.Context, name string, args ...string) error {
	cmd := c.site.command(ctx, name, args...)
	cmd.Env = []string{"PATH=" + filepath.Join(c.site.paths.Current(), "bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOGC=100"}
	log, err := os.Create(c.log(filepath.Base(name)))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	c.list, c.ended = append(c.list, cmd), append(c.ended, ended)
	return nil
}

func (c *components) log(name string) string {
	return filepath.Join(c.folder, name+".log")
}

// processes are those that run. nsenter has become the program itself.
func (c *components) processes() []process {
	var list []process
	for _, cmd := range c.list {
		list = append(list, process{pid: cmd.Process.Pid, role: "separate", args: cmd.Args})
	}
	return list
}

// logs are the ends of all logs.
func (c *components) logs() string {
	var all strings.Builder
	for _, cmd := range c.list {
		name := filepath.Base(cmd.Args[2])
		data, _ := os.ReadFile(c.log(name))
		data = bytes.TrimSpace(data)
		fmt.Fprintf(&all, "%s:\n%s\n", name, data[max(0, len(data)-1200):])
	}
	return all.String()
}

// stop ends them, the latest first, and waits. If something failed, the error gets the ends of their logs.
func (c *components) stop(err *error) {
	if *err != nil {
		*err = fmt.Errorf("%w\n%s", *err, c.logs())
	}
	for i := len(c.list) - 1; i >= 0; i-- {
		_ = syscall.Kill(-c.list[i].Process.Pid, syscall.SIGTERM) // it may have ended
		select {
		case <-c.ended[i]:
		case <-time.After(10 * time.Second):
			*err = errors.Join(*err, syscall.Kill(-c.list[i].Process.Pid, syscall.SIGKILL))
			<-c.ended[i]
		}
	}
}
