package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"airgap/installer/preflight"
	"airgap/internal/site"
	"airgap/node/config"
)

// JoinOptions make the machine a node of a cluster that runs already.
type JoinOptions struct {
	Server     string     // "https://address:port" of one of the cluster's servers
	Token      site.Token // not needed by a machine that has joined before
	Kubernetes string     // version of it in this executable
}

// membership is what a machine knows of the cluster that it joins. Several runs share it, one for each bundle.
type membership struct {
	node  string   // the machine's name there; empty until it has joined
	peers *peers   // where bundles come from; nil: from a stick
	queue []queued // bundles to be installed, the one of this run first; nil until their heads have been verified

	undone bool // a bundle was rolled back: what came of it goes too
}

// Join makes the machine a node of a cluster, and installs what opts.Bundle names, or else every bundle that the cluster has, read
// from its nodes: each as [Run] does, in a transaction of its own, with a report of its own. The node starts with the last.
// The reports are of those that were installed, also after an error.
func Join(ctx context.Context, opts Options) (reports []*Report, err error) {
	if opts.Join == nil {
		return nil, fmt.Errorf("%w: no server to join", ErrUsage)
	}
	member := &membership{}
	var held *hold
	defer func() { err = errors.Join(err, member.close(err == nil)) }()
	for {
		r, err := newRun(opts)
		if err != nil {
			return reports, err
		}
		r.member, r.hold = member, held
		err = r.runSteps(ctx)
		if err == nil && r.moreFollow() {
			held, r.hold = r.hold, nil
		}
		r.close()
		if err != nil {
			return reports, err
		}
		reports = append(reports, r.report)
		if !r.moreFollow() {
			return reports, nil
		}
		member.queue = member.queue[1:]
	}
}

// moreFollow says whether another bundle comes after this run's: the node starts with the last.
func (r *run) moreFollow() bool { return r.member != nil && len(r.member.queue) > 1 }

// serving says whether this process listens for other machines.
func (m *membership) serving() bool { return m != nil && m.peers != nil && m.peers.server != nil }

// close lets go of the peers; what the spool holds stays for another run unless all is done.
func (m *membership) close(done bool) error {
	for _, q := range m.queue {
		_ = q.reader.Close() // a run that had it has closed it
	}
	if m.peers == nil {
		return nil
	}
	return m.peers.close(done || m.undone)
}

// isAgent says whether the machine has joined a cluster of others.
func isAgent(p config.Paths) bool {
	return exists(filepath.Join(p.AgentPKI(), site.FileCluster)) && !exists(p.Server())
}

// join makes the machine known to the cluster. Its credentials stay from here on, whatever becomes of the install: its
// name belongs to whoever has their password, and without it a second try would be turned away.
func (r *run) join(ctx context.Context) (string, error) {
	if r.member.node != "" {
		return "as before", nil
	}
	pki := r.paths.AgentPKI()
	cluster, err := site.LoadCluster(pki)
	anew := errors.Is(err, fs.ErrNotExist)
	if err != nil && !anew {
		return "", err
	}
	if !anew {
		if err := r.checkSameCluster(pki); err != nil {
			return "", err
		}
		known, err := r.askAgain(ctx, pki, &cluster)
		if err != nil {
			return "", err
		}
		anew = !known
	}
	if anew {
		joined, err := r.joinAnew(ctx)
		if err != nil {
			return "", err
		}
		cluster, r.member.node = joined.Cluster, joined.NodeName
	} else if r.member.node, err = site.NodeName(pki); err != nil {
		return "", err
	}
	r.adopt(cluster)
	if r.Bundle == "" {
		if r.member.peers, err = openPeers(&r.Options, r.paths, cluster); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s of the cluster of %s", r.member.node, r.Join.Server), nil
}

// checkSameCluster refuses to make a node of one cluster a node of another.
func (r *run) checkSameCluster(pki string) error {
	authorities, err := os.ReadFile(filepath.Join(pki, site.FileAuthorities))
	if err != nil {
		return err
	}
	if err := r.Join.Token.VerifyCA(authorities); err != nil {
		return fmt.Errorf("%w: this machine is a node already, and the token is not of its cluster: %w; airgap uninstall makes it leave", ErrRefused, err)
	}
	return nil
}

// askAgain asks whether the machine, which has joined, still is a node, and where the cluster's bundles are now: nodes may have come and gone since.
// If it is no node any more it joins anew, provided that it is given a token, as what somebody on the server did on purpose is undone by somebody
// here on purpose. A server that cannot be asked changes nothing.
func (r *run) askAgain(ctx context.Context, pki string, cluster *site.Cluster) (known bool, err error) {
	client, err := nodeClient(r.Join.Server, pki)
	if err != nil {
		return false, err
	}
	defer client.Close()
	password, err := site.LoadPassword(pki)
	if err != nil {
		return false, err
	}
	renewed, err := client.Renew(ctx, site.RenewRequest{Password: password})
	var refusal *site.Error
	switch {
	case errors.As(err, &refusal) && refusal.Code == site.CodeName:
		if r.Join.Token.Secret == "" {
			return false, fmt.Errorf("%w: %w; give --token to join anew", ErrRefused, refusal)
		}
		return false, nil
	case err != nil, len(renewed.Peers) == 0:
		return true, nil // what is wrong with the server, if anything, shows later
	}
	cluster.Peers = renewed.Peers
	return true, site.SaveCluster(pki, *cluster)
}

// nodeClient talks to a server as the node whose credentials these are.
func nodeClient(server, pki string) (*site.Client, error) {
	authorities, err := os.ReadFile(filepath.Join(pki, site.FileAuthorities))
	if err != nil {
		return nil, err
	}
	kubelet := filepath.Join(pki, site.FileKubelet)
	return site.NewClient(server, authorities, site.CertificateFiles(kubelet, kubelet))
}

// joinAnew joins for the first time. What the machine itself has against that is found before the server is asked.
func (r *run) joinAnew(ctx context.Context) (*site.Joined, error) {
	if r.Join.Token.Secret == "" {
		return nil, fmt.Errorf("%w: no token to join with: give --token, --token-file or AIRGAP_TOKEN; on a server, airgap token create --print-join prints the whole line", ErrUsage)
	}
	if err := r.look(); err != nil {
		return nil, err
	}
	if server := r.facts.Server; server != nil {
		if errors.Is(server.Err, site.ErrOtherCluster) {
			return nil, fmt.Errorf("%w: %w", ErrRefused, server.Err)
		}
		if r.facts.Now.Before(server.NotBefore) {
			if err := r.setClock(server.NotBefore); err != nil {
				return nil, fmt.Errorf("the clock is before the server's certificate begins, %s, and cannot be raised: %w; set it", server.NotBefore, err)
			}
		}
	}
	if err := preflight.Problems(r.findings); err != nil {
		return nil, err
	}
	machine := r.machine()
	limited, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	made, tried := missingFolders(machine.PKI), false
	joined, err := machine.Join(limited, func(err error) {
		tried = true
		r.console.wait(brief(err))
	})
	if err = joinError(err); errors.Is(err, ErrRefused) && len(made) > 0 && !tried {
		// The password of a name that nobody was given is worth nothing.
		return nil, errors.Join(err, os.RemoveAll(made[0]))
	}
	if err != nil {
		return nil, err
	}
	for _, warning := range joined.Warnings {
		r.console.warn(warning)
		r.report.Warnings = append(r.report.Warnings, warning)
	}
	return joined, r.fault("join joined")
}

// machine is this one, as it asks to join.
func (r *run) machine() site.Machine {
	m := site.Machine{
		Server: r.Join.Server, Token: r.Join.Token, PKI: r.paths.AgentPKI(), NodeName: r.Server.NodeName, PeerPort: r.Server.PeerPort,
		Airgap: r.Version, Kubernetes: r.Join.Kubernetes, Host: r.host,
	}
	if r.Server.NodeIP != "" {
		for address := range strings.SplitSeq(r.Server.NodeIP, ",") {
			m.Addresses = append(m.Addresses, strings.TrimSpace(address))
		}
	}
	return m
}

// askToJoin asks the server what it has against this machine, if it is to join for the first time and the server was reached:
// its name, address and version. Nothing is changed on either.
func (r *run) askToJoin(ctx context.Context) []Finding {
	if r.facts.Server == nil || r.facts.Server.Err != nil || r.Join.Token.Secret == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	joined, err := r.machine().Check(ctx)
	if err != nil {
		return []Finding{{Check: "join", Level: preflight.Fail, Text: brief(err), Why: "the server " + r.Join.Server + " would refuse the machine", Remedy: "see what it says; airgap status there says more"}}
	}
	var findings []Finding
	for _, warning := range joined.Warnings {
		findings = append(findings, Finding{Check: "clone", Level: preflight.Warn, Text: warning, Why: "a copy of a machine's disk has its keys too", Remedy: "give the copy an identity of its own (rm -f /etc/machine-id /etc/ssh/ssh_host_*; systemd-machine-id-setup; ssh-keygen -A); the join is not stopped by it"})
	}
	return findings
}

// joinError tells a refusal, which no other try would change, from a failure.
func joinError(err error) error {
	var refusal *site.Error
	if errors.As(err, &refusal) && !site.Temporary(err) || errors.Is(err, site.ErrOtherCluster) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// adopt takes over what all nodes of the cluster agree on.
func (r *run) adopt(c site.Cluster) {
	s := r.Server
	s.ClusterCIDR, s.ServiceCIDR, s.ClusterDNS, s.ClusterDomain = c.ClusterCIDR, c.ServiceCIDR, c.ClusterDNS, c.ClusterDomain
	s.FlannelBackend, s.FlannelIPv6Masq, s.FlannelExternalIP = c.FlannelBackend, c.FlannelIPv6Masq, c.FlannelExternalIP
	s.DisableNetworkPolicy = c.DisableNetworkPolicy
}
