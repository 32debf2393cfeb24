package installer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// wellBefore is what was well before an upgrade, and so must be after it. Empty if the API server did not answer, and on agents: there
// the node's own readiness decides.
type wellBefore struct {
	AddOns   []string `json:"addOns,omitempty"`   // files that were Applied
	Releases []string `json:"releases,omitempty"` // HelmCharts that were Ready
}

const (
	// lookPatience bounds a look at the cluster before an upgrade: a node that does not run is upgraded, too.
	lookPatience  = 10 * time.Second
	probationPoll = 500 * time.Millisecond
)

// lookAround sees what is well.
func (r *run) lookAround(ctx context.Context) (w wellBefore) {
	if r.agent {
		return w
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	var c cluster
	if c.read(ctx, r.Server.Kubeconfig) != nil {
		return w
	}
	for _, record := range c.addOns.Items {
		if record.Data["state"] == "Applied" {
			w.AddOns = append(w.AddOns, record.Data["file"])
		}
	}
	for _, chart := range c.charts.Items {
		if chart.Status.IsReady(chart.Generation) {
			w.Releases = append(w.Releases, chart.Name)
		}
	}
	return w
}

// missing says what was well and is not, of what is still there; empty if all is.
func (w wellBefore) missing(c *cluster) string {
	var worse []string
	for _, record := range c.addOns.Items {
		if file := record.Data["file"]; slices.Contains(w.AddOns, file) && record.Data["state"] != "Applied" {
			worse = append(worse, fmt.Sprintf("add-on %s: %s %s", file, record.Data["state"], firstLine(record.Data["message"])))
		}
	}
	for _, chart := range c.charts.Items {
		if slices.Contains(w.Releases, chart.Name) && !chart.Status.IsReady(chart.Generation) {
			worse = append(worse, fmt.Sprintf("release %s: %s", chart.Name, chart.Status.Reason()))
		}
	}
	return strings.Join(worse, "; ")
}

// watch returns when the new version has been well for the whole of its probation: one that ends once in that time has failed.
func (r *run) watch(ctx context.Context) error {
	if err := r.awaitWell(ctx); err != nil {
		return err
	}
	first := r.readyPID
	for end := time.Now().Add(r.Probation); time.Now().Before(end); {
		r.console.wait(fmt.Sprintf("on probation for another %s", time.Until(end).Round(time.Second)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(probationPoll):
		}
		if running, err := r.service.running(); err != nil || !running {
			return errors.Join(errors.New("the service ended while the new version was on probation"), err)
		}
		if now, err := readPID(r.paths.ServerPID()); err != nil || now != first {
			return fmt.Errorf("the node was Ready, and then ended by itself%s", r.lastWords())
		}
	}
	if err := r.awaitWell(ctx); err != nil {
		return err
	}
	_, err := r.awaitNode(ctx)
	return err
}

// awaitWell waits until all that was well is again.
func (r *run) awaitWell(ctx context.Context) error {
	if r.agent {
		return nil
	}
	return r.await(ctx, releasePoll, func(ctx context.Context) (string, error) {
		var c cluster
		if err := c.read(ctx, r.Server.Kubeconfig); err != nil {
			return "the API server: " + brief(err), nil
		}
		return r.trial.Well.missing(&c), nil
	})
}

// maxRestarts is how often a new version may end and be started again before it is Ready: once may be chance.
const maxRestarts = 2

// failing says that a new version ends again and again: there is no need to wait until the time is up.
func (r *run) failing() error {
	if r.trial == nil {
		return nil
	}
	if count, err := r.service.restarts(); err != nil || count < maxRestarts {
		return nil // what cannot be counted shows when the time is up
	}
	return fmt.Errorf("the node ended by itself and was started again, %d times%s", maxRestarts, r.lastWords())
}

// lastWords are the end of the node's log, for an error.
func (r *run) lastWords() string {
	lines := r.service.logTail(logLines)
	if lines == "" {
		return ""
	}
	return "\nthe last lines of the node's log:\n" + indent(lines)
}
