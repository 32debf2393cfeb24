package installer

import (
	"context"
	"fmt"

	"github.com/Masterminds/semver/v3"

	"airgap/installer/preflight"
)

// maxAgentLag is how many minor versions a kubelet may be behind the API server
// (https://kubernetes.io/releases/version-skew-policy).
const maxAgentLag = 3

// skew finds what Kubernetes' rules of version skew have against the bundle's version on this machine.
func (r *run) skew(ctx context.Context) []Finding {
	d := r.distribution()
	if d == nil || !r.installed() {
		return nil
	}
	now, err := runningVersion(r.paths)
	if err != nil || now.Kubernetes == "" {
		return nil // the reports are gone: nobody knows
	}
	findings := judgeSkew(now.Kubernetes, d.Kubernetes)
	k, err := r.openKube()
	if err != nil {
		return findings
	}
	defer k.close()
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	if r.agent {
		var server struct {
			GitVersion string `json:"gitVersion"`
		}
		if k.get(ctx, "/version", &server) == nil {
			findings = append(findings, judgeAgent(d.Kubernetes, server.GitVersion)...)
		}
		return findings
	}
	var nodes list[nodeObject]
	if k.get(ctx, "/api/v1/nodes", &nodes) == nil {
		for _, n := range nodes.Items {
			findings = append(findings, judgeServer(d.Kubernetes, n.Metadata.Name, n.Status.NodeInfo.KubeletVersion)...)
		}
	}
	return findings
}

// minorsBetween is by how many minor versions b is above a; known is false unless both are versions of one major.
func minorsBetween(a, b string) (minors int, known bool) {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	if errA != nil || errB != nil || va.Major() != vb.Major() {
		return 0, false
	}
	return int(vb.Minor()) - int(va.Minor()), true
}

func skewed(remedy, format string, args ...any) []Finding {
	return []Finding{{
		Check: "skew", Level: preflight.Fail, Text: fmt.Sprintf(format, args...),
		Why: "Kubernetes promises nothing beyond it (its version skew policy)", Remedy: remedy,
	}}
}

// judgeSkew judges the way from one version of Kubernetes to another on one machine.
func judgeSkew(from, to string) []Finding {
	switch minors, known := minorsBetween(from, to); {
	case !known:
		return nil
	case minors > 1:
		return skewed("install a bundle of each minor version between, one after the other", "Kubernetes %s runs here, the bundle brings %s: %d minor versions are skipped", from, to, minors-1)
	case minors < 0:
		return skewed("airgap rollback goes back to the version before the last upgrade", "Kubernetes %s runs here, the bundle brings the older %s", from, to)
	}
	return nil
}

// judgeAgent judges what an agent would become beside its server.
func judgeAgent(to, server string) []Finding {
	if minors, known := minorsBetween(server, to); known && minors > 0 {
		return skewed("upgrade the servers first", "the server runs Kubernetes %s, and the bundle would make this agent %s", server, to)
	}
	return nil
}

// judgeServer judges what a server would become beside one of its nodes.
func judgeServer(to, node, kubelet string) []Finding {
	if minors, known := minorsBetween(kubelet, to); known && minors > maxAgentLag {
		return skewed("upgrade that node first, as far as the servers are", "node %s runs Kubernetes %s, %d minor versions behind the bundle's %s", node, kubelet, minors, to)
	}
	return nil
}
