package installer

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/internal/site"
	"airgap/node/config"
)

// roleOfMachine says what the node of these paths is.
func roleOfMachine(p config.Paths) string {
	if !exists(p.Server()) && (exists(filepath.Join(p.AgentPKI(), site.FileCluster)) || exists(p.AgentState())) {
		return RoleAgent
	}
	return RoleServer
}

// parseBundles reads a node's own word of what is installed on it: "name=version@digest", with commas between. What is
// not of that form is left out.
func parseBundles(text string) []NodeBundle {
	list := []NodeBundle{}
	for part := range strings.SplitSeq(text, ",") {
		name, rest, found := strings.Cut(part, "=")
		at := strings.LastIndex(rest, "@")
		if !found || name == "" || at < 1 {
			continue
		}
		list = append(list, NodeBundle{Name: name, Version: rest[:at], Digest: rest[at+1:]})
	}
	return list
}

// tellLacks notes for each node which bundles it lacks, or has in another version, compared with the cluster's servers.
func tellLacks(nodes []NodeStatus) {
	wanted := map[string]NodeBundle{}
	for _, n := range nodes {
		if !n.isServer() {
			continue
		}
		for _, b := range n.Bundles {
			wanted[b.Name+" "+b.Digest] = b
		}
	}
	for i := range nodes {
		if nodes[i].Airgap == "" {
			continue // it has not said what it has
		}
		for _, b := range sorted(wanted) {
			has := slices.IndexFunc(nodes[i].Bundles, func(own NodeBundle) bool { return own.Name == b.Name })
			switch {
			case has < 0:
				nodes[i].Lacks = append(nodes[i].Lacks, b.Name+" "+b.Version)
			case nodes[i].Bundles[has].Digest != b.Digest:
				nodes[i].Lacks = append(nodes[i].Lacks, fmt.Sprintf("%s %s (it has %s)", b.Name, b.Version, nodes[i].Bundles[has].Version))
			}
		}
	}
}

func (n NodeStatus) isServer() bool { return slices.Contains(n.Roles, "control-plane") }

// tellJoined tells of an agent's way to its servers, by what it says of itself.
func (s *Status) tellJoined(p config.Paths) {
	s.API = "no server is reached"
	state, err := config.ReadAgentState(p)
	if err != nil {
		s.API = "not known"
		s.cannotSee("the cluster's servers", err)
		return
	}
	s.Node = state.Node
	if s.Service != ServiceRunning {
		s.API = "the service does not run"
		if state.Failure != "" && state.Failed != nil {
			s.complain("the agent ended at %s: %s", state.Failed.Format(time.RFC3339), firstLine(state.Failure))
		}
		return
	}
	if state.PID > 0 {
		s.Since = &state.Started
	}
	for _, server := range state.Servers {
		s.Servers = append(s.Servers, ServerStatus{Address: server.Address, Problem: firstLine(server.Problem), Since: server.Since})
		if server.Problem == "" {
			s.API = "ready"
			continue
		}
		s.complain("server %s is not reached since %s: %s", server.Address, server.Since.UTC().Format(time.RFC3339), firstLine(server.Problem))
	}
	if state.Problem != "" {
		s.complain("%s", firstLine(state.Problem))
	}
	if s.API != "ready" && len(s.Problems) == 0 {
		s.complain("the agent has reached no server of its cluster yet")
	}
}

// joinedCertificates are those that a node has from its server, which it renews by itself.
var joinedCertificates = []struct{ service, file string }{
	{"kubelet", site.FileKubelet},
	{"kubelet", site.FileServing + ".crt"},
	{"kube-proxy", site.FileProxy + ".crt"},
	{"network-policy", site.FileNetworkPolicy + ".crt"},
}

// tellJoinedCertificates tells of an agent's own certificates, and complains of those that have ended.
func (s *Status) tellJoinedCertificates(p config.Paths, now time.Time) {
	for _, c := range joinedCertificates {
		file := filepath.Join(p.AgentPKI(), c.file)
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrPermission) {
			s.cannotSee("certificates", err)
			return
		}
		status := CertificateStatus{Service: c.service, File: file, Status: CertificateGood}
		var certificate *x509.Certificate
		if err == nil {
			certificate, err = site.ParseCertificate(data)
		}
		switch {
		case err != nil:
			status.Status = "unreadable"
			s.complain("certificate %s is unreadable: %s", file, brief(err))
		default:
			status.NotAfter, status.DaysLeft = certificate.NotAfter, int(certificate.NotAfter.Sub(now).Hours()/24)
			if now.After(certificate.NotAfter) {
				status.Status = "expired"
				s.complain("certificate %s expired on %s: restart the node while a server can be reached, or join again", file, certificate.NotAfter.Format(time.DateOnly))
			}
		}
		s.Certificates = append(s.Certificates, status)
	}
}
