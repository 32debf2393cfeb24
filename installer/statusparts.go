package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"airgap/node/config"
)

// probePatience bounds the wait for one component of this machine.
const probePatience = 2 * time.Second

// shown are the server's components by the names that a user knows, in the order of the screen; others
// are the server's inner affair.
var shown = []struct{ component, name string }{
	{"kube-scheduler", "scheduler"},
	{"kube-controller-manager", "controllers"},
	{"deployer", "add-on deployer"},
	{"helm-controller", "Helm controller"},
	{"servicelb", "service load balancer"},
}

// tellServer tells of the API server, which answered with clusterErr, and what runs in its process.
func (s *Status) tellServer(p config.Paths, clusterErr error) {
	s.API = "ready"
	add := func(name, state, detail string) {
		s.Components = append(s.Components, ComponentStatus{Name: name, State: state, Detail: detail})
	}
	switch {
	case errors.Is(clusterErr, errHidden):
		s.API = brief(clusterErr)
		add("API server", ComponentUnknown, s.API)
		s.complain("the cluster cannot be asked: %s", s.API)
	case clusterErr != nil:
		s.API = brief(clusterErr)
		add("API server", stoppedOr(s.Service, ComponentFailed), s.API)
		s.complain("the API server does not answer: %s", s.API)
	default:
		add("API server", ComponentOK, "")
	}
	state, err := config.ReadServerState(p)
	s.cannotSee("components of the server", err)
	if s.Service == ServiceRunning && state.PID > 0 && err == nil {
		s.Since = &state.Started
	}
	for _, c := range shown {
		switch {
		case err != nil:
			add(c.name, ComponentUnknown, "")
		case s.Service != ServiceRunning:
			add(c.name, ComponentStopped, "")
		case slices.Contains(state.Disabled, c.component):
			add(c.name, ComponentDisabled, "")
		case slices.Contains(state.Components, c.component):
			add(c.name, ComponentOK, "")
		default:
			add(c.name, ComponentStopped, "it starts when the API server is ready")
		}
	}
	if state.Failure != "" && s.API != "ready" {
		s.complain("the server ended at %s: %s", state.Failed.Format(time.RFC3339), firstLine(state.Failure))
	}
}

func stoppedOr(service, otherwise string) string {
	if service != ServiceRunning {
		return ComponentStopped
	}
	return otherwise
}

// tellDatastore tells what the running server says of its datastore.
func (s *Status) tellDatastore(p config.Paths) {
	state, err := config.ReadDatastoreState(p)
	if errors.Is(err, fs.ErrNotExist) || s.Service != ServiceRunning {
		return
	}
	if err != nil {
		s.cannotSee("the datastore", err)
		return
	}
	s.Datastore = &DatastoreStatus{Datastore: state.Datastore, Problem: state.Problem, Since: state.Since}
	part := ComponentStatus{Name: "datastore", State: ComponentOK, Detail: state.Datastore}
	if state.Problem != "" {
		part.State, part.Detail = ComponentFailed, state.Problem
		s.complain("the datastore does not work since %s: %s", state.Since.Format(time.RFC3339), state.Problem)
	}
	if state.Datastore == string(config.SQLite) {
		s.Datastore.SizeBytes, _, _ = folderSize(p.DB(), time.Now().Add(probePatience))
	}
	s.Components = slices.Insert(s.Components, 1, part) // after the API server
}

// tellAgent tells of the agent's components; err is why they are not known.
func (s *Status) tellAgent(parts []ComponentStatus, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.Service == ServiceRunning:
		return // a server without an agent, or one that has not come so far
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		s.cannotSee("components of the agent", err)
		return
	}
	for _, part := range parts {
		if part.State != ComponentDisabled && s.Service != ServiceRunning {
			part.State, part.Detail = ComponentStopped, "" // also what left a file or a socket behind
		}
		if part.State == ComponentFailed {
			s.complain("%s: %s", part.Name, part.Detail)
		}
		s.Components = append(s.Components, part)
	}
}

// probe asks one component; nil is good.
type probe struct {
	name     string
	disabled bool
	detail   string // shown when it is good
	ask      func(context.Context) error
}

// readAgentComponents asks each component of the agent, as the agent was told to run it. The error is
// fs.ErrNotExist where no server has started an agent since the machine's start.
func readAgentComponents(ctx context.Context, p config.Paths) ([]ComponentStatus, error) {
	data, err := os.ReadFile(p.AgentHandover())
	if err != nil {
		return nil, err
	}
	var agent config.Agent
	if err := json.Unmarshal(data, &agent); err != nil {
		return nil, fmt.Errorf("%s: %w", p.AgentHandover(), err)
	}
	probes := []probe{
		{name: "kubelet", ask: healthz(agent.KubeletHealthPort)},
		{name: "kube-proxy", ask: healthz(agent.ProxyHealthPort)},
		{name: "containerd", ask: func(ctx context.Context) error { return containerdServes(ctx, p.ContainerdSocket()) }},
		{name: "pod network", detail: agent.FlannelBackend, ask: func(context.Context) error { return networkConfigured(p, agent.FlannelBackend) }},
		{name: "network policy", disabled: agent.DisableNetworkPolicy, ask: connects("unix", p.PolicySocket())},
		{name: "image mirror", ask: connects("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(agent.RegistryPort)))},
	}
	parts := make([]ComponentStatus, len(probes))
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	var running sync.WaitGroup
	for i, probe := range probes {
		running.Go(func() { parts[i] = probe.run(ctx) })
	}
	running.Wait()
	return parts, nil
}

func (p probe) run(ctx context.Context) ComponentStatus {
	if p.disabled {
		return ComponentStatus{Name: p.name, State: ComponentDisabled}
	}
	if err := p.ask(ctx); err != nil {
		return ComponentStatus{Name: p.name, State: ComponentFailed, Detail: brief(err)}
	}
	return ComponentStatus{Name: p.name, State: ComponentOK, Detail: p.detail}
}

// healthz asks a component's own health port.
func healthz(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", port), nil)
		if err != nil {
			return err
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(answer.Body, 300))
			return fmt.Errorf("%s: %s", answer.Status, firstLine(string(text)))
		}
		return nil
	}
}

// containerdServes asks containerd by gRPC's own health protocol.
func containerdServes(ctx context.Context, socket string) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil && answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		err = errors.New(answer.GetStatus().String())
	}
	return err
}

// networkConfigured says whether containerd has what it makes pods' networks from.
func networkConfigured(p config.Paths, backend string) error {
	folder := filepath.Join(p.AgentEtc(), "cni", "net.d")
	if backend == config.FlannelNone {
		folder = "/etc/cni/net.d"
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(filepath.Ext(e.Name()), ".conf") }) {
		return fmt.Errorf("no CNI configuration in %s yet", folder)
	}
	return nil
}

func connects(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
