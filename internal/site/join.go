package site

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
)

// Waits between two attempts of a join: doubled from the first to the second.
const (
	firstJoinWait = time.Second
	longJoinWait  = 10 * time.Second
)

// Machine is one that wants to be a node.
type Machine struct {
	Server string // "https://address:port"
	Token  Token
	PKI    string // its folder of credentials, made if it is missing

	NodeName   string        // empty: the host's name
	Addresses  []string      // of the node, IP addresses; empty: the one that it reaches the server from
	PeerPort   int           // where it serves its peers
	Airgap     string        // version of the executable
	Kubernetes string        // version of Kubernetes in it
	Host       hostinfo.Host // what tells a clone
}

// Joined is what a machine knows when it has joined.
type Joined struct {
	NodeName  string
	Addresses []string
	Cluster   Cluster
	Warnings  []string // the server's, for the person who installs
}

// Join makes the machine a node of the server's cluster, and writes its credentials ([Credentials.Save]). A refusal is
// an error at once. What may pass by itself, a server that is not reached for one, is told to retry and tried
// again until ctx is done; without a retry it is an error too.
//
// Joining a second time under the same name is no fault: the password of the name is on disk before it is first sent.
func (m Machine) Join(ctx context.Context, retry func(error)) (*Joined, error) {
	if _, err := parseServer(m.Server); err != nil {
		return nil, err
	}
	if err := m.nameNode(); err != nil {
		return nil, err
	}
	password, err := m.password()
	if err != nil {
		return nil, err
	}
	keys, err := NewKeys()
	if err != nil {
		return nil, err
	}
	for wait := firstJoinWait; ; wait = min(2*wait, longJoinWait) {
		joined, err := m.join(ctx, keys, password, false)
		if err == nil || retry == nil || !Temporary(err) || ctx.Err() != nil {
			return joined, err
		}
		retry(err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// Check asks the server whether it would refuse the machine, as an error, and what it would warn of. Nothing is changed, on
// neither side.
func (m Machine) Check(ctx context.Context) (*Joined, error) {
	if err := m.nameNode(); err != nil {
		return nil, err
	}
	password, err := LoadPassword(m.PKI)
	if err != nil {
		return nil, err
	}
	keys, err := NewKeys()
	if err != nil {
		return nil, err
	}
	return m.join(ctx, keys, password, true)
}

// nameNode fills in the node's name where none is given.
func (m *Machine) nameNode() error {
	if m.NodeName != "" {
		return nil
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("node name: %w; give one with --node-name", err)
	}
	m.NodeName = strings.ToLower(name)
	return nil
}

// join is one attempt, or a check of what would come of it.
func (m Machine) join(ctx context.Context, keys Keys, password string, check bool) (*Joined, error) {
	addresses := m.Addresses
	if len(addresses) == 0 {
		address, err := addressTowards(m.Server)
		if err != nil {
			return nil, err
		}
		addresses = []string{address.String()}
	}
	authorities, err := Authorities(ctx, m.Server, m.Token)
	if err != nil {
		return nil, err
	}
	client, err := NewJoiner(m.Server, authorities, m.Token)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	public, err := keys.Public()
	if err != nil {
		return nil, err
	}
	response, err := client.Join(ctx, JoinRequest{
		NodeName: m.NodeName, Password: password, Addresses: addresses, PeerPort: m.PeerPort,
		Airgap: m.Airgap, Kubernetes: m.Kubernetes, Platform: runtime.GOOS + "/" + runtime.GOARCH,
		MachineID: HashMachineID(m.Host), HostKeys: HashHostKeys(m.Host), PublicKeys: public, Check: check,
	})
	if err != nil {
		return nil, fmt.Errorf("join %s: %w", m.Server, err)
	}
	if check {
		return &Joined{NodeName: m.NodeName, Addresses: addresses, Cluster: response.Cluster, Warnings: response.Warnings}, nil
	}
	if err := response.Issued.Check(keys); err != nil {
		return nil, fmt.Errorf("join %s: %w", m.Server, err)
	}
	if len(response.Cluster.Servers) == 0 {
		response.Cluster.Servers = []string{m.Server}
	}
	credentials := Credentials{Keys: keys, Issued: response.Issued, Password: password, Cluster: response.Cluster}
	if err := credentials.Save(m.PKI); err != nil {
		return nil, fmt.Errorf("write the node's credentials: %w", err)
	}
	return &Joined{NodeName: m.NodeName, Addresses: addresses, Cluster: response.Cluster, Warnings: response.Warnings}, nil
}

// password returns the password of the node's name, which is on disk from here on.
func (m Machine) password() (string, error) {
	if err := os.MkdirAll(m.PKI, 0o700); err != nil {
		return "", err
	}
	password, err := LoadPassword(m.PKI)
	if err != nil {
		return "", err
	}
	return password, atomicfile.Write(filepath.Join(m.PKI, FilePassword), []byte(password+"\n"), 0o600)
}

// addressTowards is the address that this machine reaches the server from. On the server's own machine that may be loopback,
// which no other machine could use.
func addressTowards(server string) (netip.Addr, error) {
	u, err := parseServer(server)
	if err != nil {
		return netip.Addr{}, err
	}
	// Connecting a UDP socket sends nothing; it makes the kernel choose a route.
	conn, err := net.Dial("udp", u.Host)
	if err != nil {
		return netip.Addr{}, &url.Error{Op: "find a route to", URL: server, Err: err}
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return netip.Addr{}, err
	}
	address := local.Addr().Unmap().WithZone("")
	if address.IsLoopback() {
		return netip.Addr{}, fmt.Errorf("the server %s is reached by loopback: name this node's address with --node-ip", server)
	}
	return address, nil
}

// Temporary says whether what failed may go well later without anybody doing something: the server was not reached, is busy,
// or failed itself. A certificate that the authorities did not sign, and a refusal, are not of that kind.
func Temporary(err error) bool {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Code == CodeBusy || refusal.Code == CodeServer || refusal.Status >= 500 || refusal.Status == 429
	}
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	if errors.As(err, &certificate) || errors.As(err, &authority) || errors.Is(err, errRedirect) {
		return false
	}
	var transport *url.Error
	var network net.Error
	return errors.As(err, &transport) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF)
}
