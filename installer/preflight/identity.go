package preflight

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"

	"airgap/node/config"
)

// hostname judges the name that the node gets: that of the host in lower case, as for K3s, or --node-name.
func (c *checker) hostname() {
	const remedy = "hostnamectl set-hostname NAME (or write NAME into /etc/hostname and start the machine again), or give --node-name"
	host, node := c.facts.Hostname, c.Server.NodeName
	if node == "" {
		node = cmp.Or(c.facts.NodeName, strings.ToLower(host))
	}
	switch {
	case node == "":
		c.fail("a node needs a name", remedy, "the machine has no name")
	case !config.ValidNodeName(node):
		c.fail("a node's name has letters, digits, dashes and dots, begins and ends with a letter or digit, and is no longer than 63 characters", remedy, "%q cannot be a node's name", node)
	case node == "localhost" || strings.HasPrefix(node, "localhost."):
		c.warn("machines that nobody has named are all called so: no second one could join, and the name cannot be changed later", remedy, "the node would be called %s", node)
	case node != strings.ToLower(host) && c.Server.NodeName == "":
		c.pass("%s; the node is called %s, as it was at its first start", host, node)
	case node != host && c.Server.NodeName == "":
		c.pass("%s; the node is called %s", host, node)
	case node != host:
		c.pass("%s; the node is called %s, by --node-name", host, node)
	}
	c.otherwise("%s", node)
}

func (c *checker) machineID() {
	const remedy = "rm -f /etc/machine-id && systemd-machine-id-setup (without systemd: dbus-uuidgen >/etc/machine-id)"
	const why = "copies of this machine are not told from it when they join"
	id := c.facts.MachineID
	_, err := hex.DecodeString(id)
	switch {
	case id == "":
		c.warn(why, remedy, "there is no /etc/machine-id")
	case err != nil || len(id) != 32:
		c.warn(why, remedy, "/etc/machine-id holds %.40q, not 32 hexadecimal digits", id)
	case strings.Trim(id, id[:1]) == "":
		c.warn(why, remedy, "/etc/machine-id, %s, is nobody's", id)
	}
	c.otherwise("/etc/machine-id is there; whether another node has the same, the server says at the join")
}

// hosts judges /etc/hosts, which pods on the host's network get too.
func (c *checker) hosts() {
	names, host := c.facts.HostsNames, c.facts.Hostname
	local := false
	for _, a := range names["localhost"] {
		local = local || a.IsLoopback()
	}
	if !local {
		c.warn("programs that connect to localhost fail", "add the line 127.0.0.1 localhost to /etc/hosts", "/etc/hosts has no address of loopback for localhost")
		return
	}
	text := "localhost"
	if addresses := names[strings.ToLower(host)]; len(addresses) > 0 {
		text += fmt.Sprintf(", and %s as %s", host, join(addresses))
	}
	c.pass("%s", text)
}
