package network

import (
	"context"
	"encoding/json"
	"path/filepath"

	"airgap/internal/atomicfile"
)

// BridgeInterface is the name of the bridge that a node's pods are attached to.
const BridgeInterface = "cni0"

// Bridge connects the pods of one node by a bridge, and masks what leaves it behind the
// node's address. It knows no routes to other nodes.
type Bridge struct {
	Name     string           // of the CNI network: CNI's cache, which all nodes of a machine share, tells them apart by it
	ConfDir  string           // absolute folder of CNI configuration lists
	StateDir string           // absolute folder where host-local keeps the addresses given out
	Chained  []map[string]any // plugins that come after all others
}

// Configure writes the CNI configuration list.
func (b Bridge) Configure(_ context.Context, node Node) error {
	type object = map[string]any
	var ranges [][]object
	var routes []object
	for _, p := range node.PodCIDRs {
		ranges = append(ranges, []object{{"subnet": p.String()}})
		dst := "0.0.0.0/0"
		if p.Addr().Is6() {
			dst = "::/0"
		}
		routes = append(routes, object{"dst": dst})
	}
	list, err := json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       b.Name,
		"plugins": append([]object{
			{
				"type": "bridge", "bridge": BridgeInterface,
				"isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables", "hairpinMode": true, "forceAddress": true,
				"ipam": object{"type": "host-local", "dataDir": b.StateDir, "ranges": ranges, "routes": routes},
			},
			{"type": "portmap", "backend": "nftables", "capabilities": object{"portMappings": true}},
		}, b.Chained...),
	}, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(b.ConfDir, "10-airgap.conflist"), append(list, '\n'), 0o600)
}

// Run has nothing to do: the kernel forwards.
func (b Bridge) Run(ctx context.Context, _ Node) error {
	<-ctx.Done()
	return nil
}
