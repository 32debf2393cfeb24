package installer

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

func TestStatusOfNothing(t *testing.T) {
	s, err := ReadStatus(context.Background(), StatusOptions{DataDir: filepath.Join(t.TempDir(), "none")})
	if !errors.Is(err, ErrNotInstalled) || s == nil || s.Service != ServiceNotInstalled || s.Healthy {
		t.Errorf("status %+v, error %v", s, err)
	}
}

// installedNode is the data folder of a node that was installed and does not run.
func installedNode(t *testing.T) config.Paths {
	t.Helper()
	p := config.PathsOf(t.TempDir())
	t.Cleanup(func() { os.RemoveAll(p.Run()) })
	for _, folder := range []string{p.Install() + "/reports", p.Agent(), p.DB(), p.PodLogs(), p.Run()} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Skip(err) // /run is root's
		}
	}
	if err := errors.Join(
		atomicfile.WriteJSON(acceptedPath(p), map[string]accepted{"site-a": {Version: "1.4.0"}}, 0o644),
		atomicfile.WriteJSON(p.Install()+"/reports/1.json", Report{Bundle: "system", Airgap: "0.1.0", Finished: time.Unix(100, 0)}, 0o644),
		atomicfile.WriteJSON(p.Install()+"/reports/0.json", Report{Bundle: "site-a", Finished: time.Unix(200, 0)}, 0o644),
		os.WriteFile(p.DB()+"/state.db", make([]byte, 8192), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return p
}

// answers are those of an API server on which everything that status looks for has something wrong.
var answers = map[string]string{
	"/readyz": "ok",
	"/api/v1/nodes": `{"items":[{"metadata":{"name":"n1","labels":{"node-role.kubernetes.io/control-plane":""}},"status":{
		"conditions":[{"type":"Ready","status":"True"},{"type":"DiskPressure","status":"True","message":"kubelet has disk pressure"}],
		"addresses":[{"type":"InternalIP","address":"10.99.0.2"},{"type":"Hostname","address":"n1"}],
		"nodeInfo":{"kubeletVersion":"v1.37.1"}}}]}`,
	"/api/v1/pods": `{"items":[
		{"metadata":{"name":"a","namespace":"x"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}},
		{"metadata":{"name":"job","namespace":"x"},"status":{"phase":"Succeeded"}},
		{"metadata":{"name":"b","namespace":"x"},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","message":"0/1 nodes are available"}]}},
		{"metadata":{"name":"c","namespace":"x"},"status":{"phase":"Running","containerStatuses":[{"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}]}`,
	"/api/v1/services": `{"items":[{"metadata":{"name":"web","namespace":"x"},"status":{"conditions":[
		{"type":"LoadBalancerPortsError","status":"True","message":"TCP port 80 of 10.99.0.2 (n1) is taken by service kube-system/traefik"}]}},
		{"metadata":{"name":"fine","namespace":"x"}}]}`,
	"/api/v1/namespaces/kube-system/configmaps": `{"items":[
		{"data":{"file":"coredns.yaml","state":"Applied"}},{"data":{"file":"bad.yaml","state":"Failed","message":"line 3: no kind"}}]}`,
	"/apis/helm.cattle.io/v1/helmcharts": `{"items":[{"metadata":{"name":"web","namespace":"kube-system","generation":1},"spec":{"targetNamespace":"x"},
		"status":{"observedGeneration":1,"version":"1.2.3","conditions":[{"type":"Failed","status":"True","reason":"InstallFailed","message":"hook failed","lastTransitionTime":"2026-01-01T00:00:00Z"},
		{"type":"Drifted","status":"True","reason":"Drifted","message":"Deployment x/web differs\nin spec.replicas","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}]}`,
}

func TestStatus(t *testing.T) {
	p := installedNode(t)
	kubeconfig := apiServer(t, func(path string) (string, bool) { body, found := answers[path]; return body, found })
	s, err := ReadStatus(context.Background(), StatusOptions{DataDir: p.DataDir, Kubeconfig: kubeconfig,
		Certificates: func(config.Paths, string) ([]CertificateStatus, error) {
			return []CertificateStatus{{File: "a.crt", Status: CertificateGood}, {File: "b.crt", Status: "expired"}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"the service does not run",
		"node n1 has DiskPressure: kubelet has disk pressure",
		"add-on bad.yaml: line 3: no kind",
		"service x/web has no address: TCP port 80 of 10.99.0.2 (n1) is taken by service kube-system/traefik",
		"release web is not Ready: failed: hook failed",
		"pod x/b: 0/1 nodes are available",
		"pod x/c: CrashLoopBackOff",
		"certificate b.crt is expired: see airgap certificate check",
	}
	if !slices.Equal(s.Problems, want) || s.Healthy {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(s.Problems, "\n"), strings.Join(want, "\n"))
	}
	if s.API != "ready" || s.Airgap != "0.1.0" || s.LastInstall.Bundle != "site-a" || len(s.Bundles) != 1 || s.Pods.Total != 4 || s.Node != "n1" {
		t.Errorf("status %+v", s)
	}
	if drift := s.Releases[0].Drift; drift != "Deployment x/web differs" {
		t.Errorf("drift %q", drift)
	}
	n := s.Nodes[0]
	if !n.Ready || !slices.Equal(n.Roles, []string{"control-plane"}) || !slices.Equal(n.Addresses, []string{"10.99.0.2"}) {
		t.Errorf("node %+v", n)
	}
	if s.Disk.TotalBytes == 0 || s.Disk.DatastoreBytes < 8192 {
		t.Errorf("disk %+v", s.Disk)
	}
	// The schema: a reader of the JSON relies on lists that are there when they are empty.
	data, err := json.Marshal(newStatus("/x"))
	if err != nil || strings.Contains(string(data), "null") {
		t.Errorf("an empty status: %s, %v", data, err)
	}
}

// Each way in which the cluster cannot be asked is told as what it is.
func TestStatusWithoutAPIServer(t *testing.T) {
	p := installedNode(t)
	refusing := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/x failed: reason withheld\nreadyz check failed\n"))
	}
	for name, test := range map[string]struct {
		kubeconfig string
		want       string
	}{
		"not begun": {filepath.Join(p.DataDir, "none"), "the node has not made its credentials yet"},
		"not ready": {brokenServer(t, refusing), "its checks fail: etcd, poststarthook/x"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ReadStatus(context.Background(), StatusOptions{DataDir: p.DataDir, Kubeconfig: test.kubeconfig})
			if err != nil || s.Healthy || s.API != test.want {
				t.Errorf("API %q, problems %q, error %v", s.API, s.Problems, err)
			}
		})
	}
}

// brokenServer is an apiServer with an answer of its own.
func brokenServer(t *testing.T, answer http.HandlerFunc) (kubeconfig string) {
	t.Helper()
	kubeconfig = apiServer(t, func(string) (string, bool) { return "", false })
	data, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(answer)
	t.Cleanup(server.Close)
	at := strings.Index(string(data), "server: ")
	line, _, _ := strings.Cut(string(data)[at:], "\n")
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), line, "server: "+server.URL, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAgentComponents(t *testing.T) {
	p := installedNode(t)
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	defer well.Close()
	ill := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "PLEG is not healthy", http.StatusInternalServerError)
	}))
	defer ill.Close()
	port := func(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }
	handover := config.Agent{
		KubeletHealthPort: port(ill), ProxyHealthPort: port(well), RegistryPort: port(well),
		FlannelBackend: config.FlannelVXLAN, DisableNetworkPolicy: true,
	}
	if err := errors.Join(atomicfile.WriteJSON(p.AgentHandover(), handover, 0o644), os.MkdirAll(p.AgentEtc()+"/cni/net.d", 0o755),
		os.WriteFile(p.AgentEtc()+"/cni/net.d/10-airgap.conflist", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	parts, err := readAgentComponents(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"kubelet": ComponentFailed, "kube-proxy": ComponentOK, "containerd": ComponentFailed,
		"pod network": ComponentOK, "network policy": ComponentDisabled, "image mirror": ComponentOK,
	}
	for _, part := range parts {
		if want[part.Name] != part.State {
			t.Errorf("%+v, want %s", part, want[part.Name])
		}
		if part.Name == "kubelet" && !strings.Contains(part.Detail, "PLEG is not healthy") {
			t.Errorf("the kubelet's own words are missing: %q", part.Detail)
		}
	}
	if len(parts) != len(want) {
		t.Errorf("%d components, want %d", len(parts), len(want))
	}
}

func TestTellServer(t *testing.T) {
	p := installedNode(t)
	failed := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	if err := atomicfile.WriteJSON(p.ServerState(), config.ServerState{
		PID: 7, Started: failed, Components: []string{"certificates", "kube-scheduler", "servicelb"}, Disabled: []string{"servicelb"}, Failure: "kube-controller-manager: ended by itself", Failed: &failed,
	}, 0o644); err != nil {
		t.Fatal(err)
	}
	state := func(s *Status, name string) string {
		i := slices.IndexFunc(s.Components, func(c ComponentStatus) bool { return c.Name == name })
		if i < 0 {
			return "missing"
		}
		return s.Components[i].State
	}
	s := newStatus(p.DataDir)
	s.Service = ServiceRunning
	s.tellServer(p, errors.New("connection refused"))
	if state(s, "API server") != ComponentFailed || state(s, "scheduler") != ComponentOK || state(s, "controllers") != ComponentStopped ||
		state(s, "service load balancer") != ComponentDisabled {
		t.Errorf("components %+v", s.Components)
	}
	if !slices.Contains(s.Problems, "the server ended at 2026-11-22T10:00:00Z: kube-controller-manager: ended by itself") {
		t.Errorf("problems %q", s.Problems)
	}
	s = newStatus(p.DataDir)
	s.Service = ServiceStopped
	s.tellServer(p, errors.New("connection refused"))
	if state(s, "API server") != ComponentStopped || state(s, "scheduler") != ComponentStopped {
		t.Errorf("components of a stopped node %+v", s.Components)
	}
}

func TestReadMemory(t *testing.T) {
	p := config.PathsOf("/srv/node")
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	const rollup = "Rss:   9 kB\nPss:                1000 kB\nPss_Dirty:  3 kB\n"
	host := hostinfo.Host{FS: fstest.MapFS{
		"proc/10/comm": file("airgap"), "proc/10/cmdline": file("/x/airgap\x00server\x00--data-dir\x00/srv/node\x00"), "proc/10/smaps_rollup": file(rollup),
		"proc/11/comm": file("shim"), "proc/11/cmdline": file("/x/containerd-shim-runc-v2\x00-address\x00" + p.ContainerdSocket() + "\x00"), "proc/11/smaps_rollup": file(rollup),
		"proc/12/comm": file("shim"), "proc/12/cmdline": file("/x/containerd-shim-runc-v2\x00-address\x00" + p.ContainerdSocket() + "\x00"), "proc/12/smaps_rollup": file(rollup),
		"proc/13/comm": file("airgap"), "proc/13/cmdline": file("/x/airgap\x00server\x00--data-dir\x00/srv/other\x00"), "proc/13/smaps_rollup": file(rollup),
		"proc/14/comm": file("airgap"), "proc/14/cmdline": file("/x/airgap\x00status\x00--data-dir\x00/srv/node\x00"), "proc/14/smaps_rollup": file(rollup),
	}}
	got, err := readMemory(host, p)
	want := []ProcessStatus{{"server", 1, 1024000}, {"shims", 2, 2048000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
