package site

import (
	"os/exec"
	"strconv"
	"strings"
)

// serverPort is that of the API server of a node that is installed here.
const serverPort = 6443

// URL is where other machines of the site reach the machine's server.
func (n *Node) URL() string { return "https://" + n.IP + ":" + strconv.Itoa(serverPort) }

// Token makes a token, on a server, that machines join with for an hour.
func (n *Node) Token() string {
	n.T.Helper()
	return strings.TrimSpace(n.Verb("token", "create", "--ttl", "1h"))
}

// JoinCommand prepares `airgap install --server` on the machine: with no bundle, so that everything comes over the LAN. The
// token does not show in the list of processes.
func (n *Node) JoinCommand(server, token string, flags ...string) *exec.Cmd {
	cmd := n.Command(n.InstallArgs(append([]string{"--server", server}, flags...)...)...)
	cmd.Env = append(cmd.Env, "AIRGAP_TOKEN="+token)
	return cmd
}

// Join makes the machine a node of the cluster whose server is given, and returns what airgap prints.
func (n *Node) Join(server *Node, flags ...string) string {
	n.T.Helper()
	return MustOutput(n.T, n.JoinCommand(server.URL(), server.Token(), flags...))
}

// Received is how many bytes have come to the machine over the LAN since it was made.
func (n *Node) Received() int64 {
	n.T.Helper()
	text := MustOutput(n.T, n.Inside("cat", "/proc/self/net/dev"))
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(strings.TrimSpace(line), "eth0:"); found {
			bytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				n.T.Fatal(err)
			}
			return bytes
		}
	}
	n.T.Fatalf("no eth0 in\n%s", text)
	return 0
}
