package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// AddOnLabel is on every ConfigMap of kube-system in which the deployer records what became of a file. Its keys
// are file, node, state, message, sha256 and objects.
const AddOnLabel = "airgap.internal/addon"

// ServerState is what a server says of itself, in [Paths.ServerState].
type ServerState struct {
	PID     int       `json:"pid"` // of the server that wrote it, which may have ended
	Started time.Time `json:"started"`
	// Components are what runs in the process beside the API server. One that ends takes the process
	// with it, so they live as long as it does.
	Components []string `json:"components"`
	Disabled   []string `json:"disabled,omitempty"` // those among them that do nothing, as they were told

	// Failure is why a server last ended, if it was not told to; at Failed.
	Failure string     `json:"failure,omitempty"`
	Failed  *time.Time `json:"failed,omitempty"`
}

// ServerState is the file of a [ServerState].
func (p Paths) ServerState() string { return filepath.Join(p.Run(), "server.json") }

// AgentHandover is the complete configuration that a server hands over to its agent.
func (p Paths) AgentHandover() string { return filepath.Join(p.Run(), "agent.json") }

// ReadServerState reads what the last server of these paths said of itself; zero if none has run since the machine's start.
func ReadServerState(p Paths) (ServerState, error) { return readState[ServerState](p.ServerState()) }

// readState reads a file in which a process says of itself how it is; zero if there is none.
func readState[S any](file string) (state S, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	return state, json.Unmarshal(data, &state)
}
