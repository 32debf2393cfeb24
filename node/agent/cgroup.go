package agent

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// createCgroup makes the cgroup that holds all pods of this node, in every hierarchy, and
// puts no process into it. The kubelet wants its root to exist.
func createCgroup(path string) error {
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{}})
	if err != nil {
		return fmt.Errorf("cgroup %s: %w", path, err)
	}
	if err := m.Apply(-1); err != nil {
		return fmt.Errorf("cgroup %s: %w", path, err)
	}
	return nil
}
