package balancer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"airgap/internal/atomicfile"
)

// maxServers bounds what is learned and remembered: no cluster has more.
const maxServers = 32

// memory is the file of learned servers.
type memory struct {
	Servers []string `json:"servers"` // "address:port"
}

// Learn makes the servers that the cluster names the first choice, and remembers them. None at all is no news: a server that
// stops takes itself off the list.
func (b *Balancer) Learn(servers []string) error {
	if len(servers) == 0 {
		return nil
	}
	if err := check(servers); err != nil {
		return err
	}
	before, _ := recall(b.options.File) // what cannot be read is written anew
	b.set(servers)
	if b.options.File == "" || slices.Equal(before, servers) {
		return nil
	}
	data, err := json.Marshal(memory{servers})
	if err != nil {
		return err
	}
	b.options.Log.Info("servers of the cluster", "servers", servers)
	return atomicfile.Write(b.options.File, append(data, '\n'), 0o600)
}

// recall reads the servers learned before; none if there is no file.
func recall(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m memory
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := check(m.Servers); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m.Servers, nil
}

func check(servers []string) error {
	if len(servers) > maxServers {
		return fmt.Errorf("%d servers; a cluster has at most %d", len(servers), maxServers)
	}
	for _, s := range servers {
		if _, err := netip.ParseAddrPort(s); err != nil {
			return fmt.Errorf("server %q: %w", s, err)
		}
	}
	return nil
}
