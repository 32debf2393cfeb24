package config

import (
	"path/filepath"
	"time"
)

// AgentState is what an agent on a machine of its own says of itself, in [Paths.AgentState].
type AgentState struct {
	PID     int       `json:"pid"` // of the agent that wrote it, which may have ended
	Started time.Time `json:"started"`
	Node    string    `json:"node,omitempty"` // empty: it has not joined

	// Problem is what keeps the node out of its cluster, and what to do; empty if nothing does. Since Since.
	Problem string     `json:"problem,omitempty"`
	Since   *time.Time `json:"since,omitempty"`

	Servers []ServerOfAgent `json:"servers"` // the preferred one first

	// Failure is why an agent last ended, if it was not told to; at Failed.
	Failure string     `json:"failure,omitempty"`
	Failed  *time.Time `json:"failed,omitempty"`
}

// ServerOfAgent is a server as its load balancer knows it.
type ServerOfAgent struct {
	Address string    `json:"address"`           // "address:port"
	Problem string    `json:"problem,omitempty"` // why it is not used; empty if it is
	Since   time.Time `json:"since"`
}

// AgentState is the file of an [AgentState].
func (p Paths) AgentState() string { return filepath.Join(p.Run(), "agent-state.json") }

// ReadAgentState reads what the last agent of these paths said of itself; zero if none has run on a machine of its own since the
// machine's start.
func ReadAgentState(p Paths) (AgentState, error) { return readState[AgentState](p.AgentState()) }

// Accepted is the file in which an install notes which bundles the machine has.
func (p Paths) Accepted() string { return filepath.Join(p.Install(), "accepted.json") }

// LearnedServers is where an agent remembers the servers of its cluster.
func (p Paths) LearnedServers() string { return p.join("agent", "etc", "servers.json") }
