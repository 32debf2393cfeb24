package config

// NodeIdentity is what a server's node has been called since its first start.
type NodeIdentity struct {
	Name string `json:"name"` // of the node
	Host string `json:"host"` // the host's name then

	MachineID string `json:"machineID,omitempty"` // /etc/machine-id then
}

// NodeIdentity is the file of a [NodeIdentity].
func (p Paths) NodeIdentity() string { return p.join("agent", "node.json") }

// ReadNodeIdentity reads it; zero if the node has never started.
func ReadNodeIdentity(p Paths) (NodeIdentity, error) {
	return readState[NodeIdentity](p.NodeIdentity())
}

// Clock is the file with the last time that the node has seen.
func (p Paths) Clock() string { return p.join("agent", "clock") }
