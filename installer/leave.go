package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"airgap/internal/site"
)

const (
	// leaveTimeout is how long an uninstall waits for the node's pods to go elsewhere.
	leaveTimeout = 5 * time.Minute
	leavePoll    = time.Second
)

// leave takes an agent out of its cluster while its pods can still be ended in order: no new ones come, those there move, and the Node and
// the password of its name are deleted. If no server answers, the machine goes all the same, and the Node stays.
func (u *removal) leave(ctx context.Context) (string, error) {
	pki := u.paths.AgentPKI()
	name, err := site.NodeName(pki)
	if errors.Is(err, fs.ErrNotExist) {
		return "it had not joined to the end", nil
	}
	if err != nil {
		return "", err
	}
	cluster, err := site.LoadCluster(pki)
	if err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, u.leaveTimeout)
	defer cancel()
	var unreached []error
	for _, server := range cluster.Servers {
		waiting, err := u.leaveBy(limited, server, pki)
		var refusal *site.Error
		switch {
		case err == nil:
			return name + " is no node of the cluster any more", nil
		case ctx.Err() != nil:
			return "", ctx.Err()
		case len(waiting) > 0:
			return "", fmt.Errorf("pods are left on %s: %s; see why they do not end, or leave without waiting for them with --force", name, strings.Join(waiting, ", "))
		case errors.As(err, &refusal) && refusal.Code == site.CodeName && refusal.Status == http.StatusForbidden:
			return name + " was no node of the cluster any more", nil
		}
		unreached = append(unreached, fmt.Errorf("%s: %w", server, err))
	}
	u.console.warn(fmt.Sprintf("node %s stays in the cluster, since no server could be told: %v; delete it on a server: airgap kubectl delete node %s",
		name, errors.Join(unreached...), name))
	return "no server answers", nil
}

// leaveBy asks one server until the node has left. After an error it returns the pods that were waited for last.
func (u *removal) leaveBy(ctx context.Context, server, pki string) (waiting []string, err error) {
	password, err := site.LoadPassword(pki)
	if err != nil {
		return nil, err
	}
	client, err := nodeClient(server, pki)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for {
		response, err := client.Leave(ctx, site.LeaveRequest{Force: u.Force, Password: password})
		if err != nil {
			return waiting, err
		}
		if response.Left {
			return nil, nil
		}
		waiting = response.Waiting
		u.console.wait(strings.Join(waiting, ", "))
		select {
		case <-ctx.Done():
			return waiting, ctx.Err()
		case <-time.After(leavePoll):
		}
	}
}
