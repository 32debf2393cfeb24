package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"airgap/node/agent"
	"airgap/node/config"
)

// stopPodsGrace is for containerd's start on a slow machine, beside the pods' own time.
const stopPodsGrace = time.Minute

// StopPods stops the pods of a node that does not run, see [agent.StopPods]. It does nothing where no pod has
// run since the machine was booted, or where the time for it is zero.
func StopPods(ctx context.Context, paths config.Paths, o Options) (pods []string, err error) {
	cfg, err := LoadAgent(paths.AgentHandover())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(paths.ContainerdState()); errors.Is(err, fs.ErrNotExist) || cfg.ShutdownGracePeriod == 0 {
		return nil, nil
	}
	unlock, err := Lock(paths)
	if err != nil {
		return nil, err
	}
	defer unlock()
	o.Manager.Extend(cfg.ShutdownGracePeriod + config.StopTimeout + stopPodsGrace)
	return agent.StopPods(ctx, cfg, agent.Options{Executable: o.Executable, Env: o.Env, Log: o.Log, Version: o.Airgap})
}
