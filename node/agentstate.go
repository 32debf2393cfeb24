package node

import (
	"context"
	"os"
	"reflect"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"airgap/internal/atomicfile"
	"airgap/node/agent/balancer"
	"airgap/node/config"
)

// followInterval is between two looks at what the load balancer knows.
const followInterval = 5 * time.Second

// agentState keeps [config.AgentState] true. An agent runs without it: failures to write are logged.
type agentState struct {
	path string

	mu    sync.Mutex
	state config.AgentState
}

// newAgentState begins with what the last agent said of its end.
func newAgentState(paths config.Paths) *agentState {
	s := &agentState{path: paths.AgentState()}
	last, err := config.ReadAgentState(paths)
	if err != nil {
		klog.ErrorS(err, "what the last agent said of its end cannot be read")
	}
	s.change(func(state *config.AgentState) {
		*state = config.AgentState{
			PID: os.Getpid(), Started: time.Now().UTC(), Node: last.Node, Servers: []config.ServerOfAgent{}, Failure: last.Failure, Failed: last.Failed,
		}
	})
	return s
}

func (s *agentState) joined(name string) {
	s.change(func(state *config.AgentState) { state.Node = name })
}

// trouble tells what keeps the node out of its cluster; nil is nothing. Each is logged once.
func (s *agentState) trouble(err error) {
	s.change(func(state *config.AgentState) {
		now := time.Now().UTC()
		switch {
		case err == nil && state.Problem != "":
			klog.InfoS("that is over", "was", state.Problem, "since", state.Since)
			state.Problem, state.Since = "", nil
		case err != nil && state.Problem != err.Error():
			klog.ErrorS(err, "this node is not a full member of its cluster")
			state.Problem, state.Since = err.Error(), &now
		}
	})
}

// follow tells which servers are reached, until ctx is done.
func (s *agentState) follow(ctx context.Context, balance *balancer.Balancer) {
	for {
		servers := []config.ServerOfAgent{}
		for _, server := range balance.Servers() {
			servers = append(servers, config.ServerOfAgent{Address: server.Address, Problem: server.Problem, Since: server.Since.UTC()})
		}
		s.change(func(state *config.AgentState) { state.Servers = servers })
		select {
		case <-ctx.Done():
			return
		case <-time.After(followInterval):
		}
	}
}

// ended tells why the agent ends; nil is an end that was asked for.
func (s *agentState) ended(err error) {
	s.change(func(state *config.AgentState) {
		state.Failure, state.Failed = "", nil
		if err != nil {
			now := time.Now().UTC()
			state.Failure, state.Failed = err.Error(), &now
		}
	})
}

// change changes the state, and writes it if it has become another.
func (s *agentState) change(apply func(*config.AgentState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.state
	apply(&s.state)
	if reflect.DeepEqual(before, s.state) {
		return
	}
	if err := atomicfile.WriteJSON(s.path, s.state, 0o600); err != nil {
		klog.ErrorS(err, "what this agent says of itself cannot be written")
	}
}
