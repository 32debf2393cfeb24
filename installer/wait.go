package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"airgap/internal/helmchart"
	"airgap/internal/site"
	"airgap/node/config"
)

const (
	nodePoll    = 150 * time.Millisecond
	releasePoll = 500 * time.Millisecond
	// logLines is how much of the node's log an error shows.
	logLines = 12
)

// awaitNode waits until the node is Ready, as this start of it says: the condition of the last
// run stands in the API server until the kubelet has reported anew.
func (r *run) awaitNode(ctx context.Context) (string, error) {
	if r.report.NotStarted {
		return "not started", nil
	}
	if r.moreFollow() {
		return "after the next bundle", nil
	}
	name, err := r.nodeName()
	if err != nil {
		return "", err
	}
	var node nodeObject
	err = r.await(ctx, nodePoll, func(ctx context.Context) (string, error) {
		k, err := r.openKube()
		if errors.Is(err, fs.ErrNotExist) {
			return "the node's credentials", nil
		}
		if err != nil {
			return "", err
		}
		defer k.close()
		if err := k.get(ctx, "/readyz", nil); err != nil {
			return "the API server: " + brief(err), nil
		}
		if r.Server.DisableAgent {
			return "", nil
		}
		return nodeState(ctx, k, name, r.started, &node)
	})
	if err != nil {
		return "", err
	}
	r.report.Node = node.Metadata.Name
	r.readyPID, _ = readPID(r.paths.ServerPID()) // 0: it has ended since, as will be seen
	if r.Server.DisableAgent {
		return "API server ready, no agent", nil
	}
	return fmt.Sprintf("%s is Ready, Kubernetes %s", node.Metadata.Name, node.Status.NodeInfo.KubeletVersion), nil
}

// nodeState says what is missing until the node of that name is Ready; nothing when it is, and then
// its object is in node. The kubelet must have reported after since.
func nodeState(ctx context.Context, k *kube, name string, since time.Time, node *nodeObject) (waiting string, err error) {
	switch err := k.get(ctx, "/api/v1/nodes/"+name, node); {
	case errors.Is(err, errNotFound):
		return "node " + name + " to register", nil
	case err != nil:
		return "node " + name + ": " + brief(err), nil
	}
	ready := conditionOf(node.Status.Conditions, "Ready")
	if ready.Status != "True" {
		return fmt.Sprintf("node %s: %s", name, firstLine(ready.Message)), nil
	}
	// Not by the node's lease: after a first start the kubelet makes it ten seconds late.
	if ready.LastHeartbeatTime.Before(since.Truncate(time.Second)) {
		return "node " + name + " to report anew", nil
	}
	return "", nil
}

// runningSince is when the node that runs was started, which is when it wrote its process ID; zero if none is known to run. A node that goes on
// unchanged reports every five minutes alone: nobody waits for that.
func (r *run) runningSince() time.Time {
	path := r.paths.ServerPID()
	pid, err := readPID(path)
	if err != nil {
		return time.Time{}
	}
	info, err := os.Stat(path)
	if p, notThere := r.host.Process(pid); err != nil || notThere != nil || !slices.Contains(p.Args, r.verb()) {
		return time.Time{}
	}
	return info.ModTime()
}

// awaitReleases waits until every chart of the bundle is a Ready release.
func (r *run) awaitReleases(ctx context.Context) (string, error) {
	if r.report.NotStarted {
		return "not started", nil
	}
	if len(r.manifest.Charts) == 0 {
		return "none in the bundle", nil
	}
	k, err := openKube(r.Server.Kubeconfig)
	if err != nil {
		return "", err
	}
	defer k.close()
	open := map[string]bool{}
	for _, c := range r.manifest.Charts {
		open[c.Release] = true
	}
	var ready []string
	err = r.await(ctx, releasePoll, func(ctx context.Context) (string, error) {
		var missing []string
		for _, c := range r.manifest.Charts {
			if !open[c.Release] {
				continue
			}
			state := releaseState(ctx, k, c.Release, r.digest)
			if state == "" {
				delete(open, c.Release)
				ready = append(ready, fmt.Sprintf("%s %s", c.Release, c.Version))
				continue
			}
			missing = append(missing, c.Release+": "+state)
		}
		return strings.Join(missing, "; "), nil
	})
	if err != nil {
		return "", err
	}
	r.report.Releases = ready
	return strings.Join(ready, ", ") + " Ready", nil
}

// releaseState says what is missing until the release of the bundle with that digest is Ready.
func releaseState(ctx context.Context, k *kube, release, digest string) string {
	var chart helmchart.Chart
	err := k.get(ctx, "/apis/"+helmchart.Group+"/"+helmchart.Version+"/namespaces/kube-system/helmcharts/"+release, &chart)
	switch {
	case errors.Is(err, errNotFound), err == nil && chart.Annotations[annotationBundle] != digest:
		return "not applied yet"
	case err != nil:
		return brief(err)
	case chart.Status.IsReady(chart.Generation):
		return ""
	}
	if message, failed := chart.Status.IsFailed(chart.Generation); failed {
		return "failed: " + firstLine(message)
	}
	if reason := chart.Status.Reason(); reason != "" {
		return reason
	}
	return "not looked at yet"
}

// await polls until look has nothing to wait for. When the time is up, the error says what was
// missing last, the end of the node's log, and what to run next.
func (r *run) await(ctx context.Context, every time.Duration, look func(context.Context) (waiting string, err error)) error {
	limited, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := ""
	for {
		waiting, err := look(limited)
		if err != nil {
			return err
		}
		if waiting == "" {
			return nil
		}
		if err := r.failing(); err != nil {
			return err
		}
		if limited.Err() == nil { // else it only says that the time is up
			last = waiting
			r.console.wait(waiting)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return r.lateError(last)
		case <-ticker.C:
		}
	}
}

func (r *run) lateError(waiting string) error {
	text := fmt.Sprintf("not within %s: still waiting for %s", r.Timeout, waiting)
	if running, err := r.service.running(); err == nil && !running {
		text += "; the service does not run"
	}
	return errors.New(text + r.lastWords() + "\nsee more with: " + r.service.hint())
}

// openKube opens the API server as this node sees it: as its administrator where it has one, else as an agent.
func (r *run) openKube() (*kube, error) {
	if r.agent {
		return openAgentKube(r.Server.LBServerPort, r.paths.AgentPKI())
	}
	return openKube(r.Server.Kubeconfig)
}

// nodeName is the name that the node registers by.
func (r *run) nodeName() (string, error) {
	switch {
	case r.agent:
		return site.NodeName(r.paths.AgentPKI())
	case r.Server.NodeName != "":
		return r.Server.NodeName, nil
	}
	if was, err := config.ReadNodeIdentity(r.paths); err != nil || was.Name != "" {
		return was.Name, err // whatever the host is called now
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost", nil
	}
	return strings.ToLower(name), nil
}

// brief shortens an error of a request to what differs: the URL is known.
func brief(err error) string {
	text := err.Error()
	if _, rest, found := strings.Cut(text, "\": "); found {
		text = rest
	}
	return firstLine(text)
}

func firstLine(s string) string {
	const most = 160
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func indent(lines string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(lines, "\n"), "\n", "\n  ")
}
