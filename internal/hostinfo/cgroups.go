package hostinfo

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Cgroups is how control groups are mounted.
type Cgroups struct {
	Unified     string            // mount point of the v2 hierarchy; empty if it is not mounted
	Controllers map[string]string // controller, "memory", to the mount point of its hierarchy
}

// Version is 2 when the v2 hierarchy has the memory controller, 1 when a v1 hierarchy has it, else 0.
func (c Cgroups) Version() int {
	switch point, ok := c.Controllers["memory"]; {
	case !ok:
		return 0
	case point == c.Unified:
		return 2
	default:
		return 1
	}
}

// Missing returns those of the named controllers that no hierarchy has.
func (c Cgroups) Missing(controllers ...string) []string {
	return slices.DeleteFunc(slices.Clone(controllers), func(name string) bool {
		_, ok := c.Controllers[name]
		return ok
	})
}

// Hierarchies returns the mount point of every hierarchy, sorted.
func (c Cgroups) Hierarchies() []string {
	points := slices.Collect(maps.Values(c.Controllers))
	if c.Unified != "" {
		points = append(points, c.Unified)
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// Cgroups reads the hierarchies from mounts; in a hybrid layout a v1 hierarchy holds a controller
// that the v2 one then does not have.
func (h Host) Cgroups(mounts []Mount) Cgroups {
	c := Cgroups{Controllers: map[string]string{}}
	for _, m := range mounts {
		switch m.Type {
		case "cgroup2":
			if c.Unified != "" {
				continue
			}
			c.Unified = m.Point
			data, err := fs.ReadFile(h.FS, rel(path.Join(m.Point, "cgroup.controllers")))
			if err != nil {
				continue
			}
			for _, name := range strings.Fields(string(data)) {
				c.Controllers[name] = m.Point
			}
		case "cgroup":
			for _, name := range m.Super {
				if name = strings.TrimPrefix(name, "name="); name != "rw" && name != "ro" {
					c.Controllers[name] = m.Point
				}
			}
		}
	}
	return c
}
