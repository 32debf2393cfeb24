package node

import (
	"os"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// serverState keeps [config.ServerState] true. A server runs without it: failures to write are logged.
type serverState struct {
	path  string
	state config.ServerState
}

// newServerState begins with what the last server said of its end.
func newServerState(paths config.Paths) *serverState {
	s := &serverState{path: paths.ServerState()}
	last, err := config.ReadServerState(paths)
	if err != nil {
		klog.ErrorS(err, "what the last server said of its end cannot be read")
	}
	s.state = config.ServerState{PID: os.Getpid(), Started: time.Now().UTC(), Failure: last.Failure, Failed: last.Failed}
	s.write()
	return s
}

// runs tells which components have been started.
func (s *serverState) runs(components []string, cfg *config.Server) {
	s.state.Components = components
	if cfg.DisableHelm {
		s.state.Disabled = append(s.state.Disabled, "helm-controller")
	}
	if slices.Contains(cfg.Disable, "servicelb") {
		s.state.Disabled = append(s.state.Disabled, "servicelb")
	}
	s.write()
}

// ended tells why the server ends; nil is an end that was asked for.
func (s *serverState) ended(err error) {
	s.state.Components, s.state.Disabled = nil, nil
	s.state.Failure, s.state.Failed = "", nil
	if err != nil {
		now := time.Now().UTC()
		s.state.Failure, s.state.Failed = err.Error(), &now
	}
	s.write()
}

func (s *serverState) write() {
	if err := atomicfile.WriteJSON(s.path, s.state, 0o600); err != nil {
		klog.ErrorS(err, "what this server says of itself cannot be written")
	}
}
