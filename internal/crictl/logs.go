package crictl

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/cri-client/pkg/logs"
)

// LogOptions say which part of a container's log is printed.
type LogOptions struct {
	Follow     bool
	Previous   bool   // of the container's last run before this one
	Tail       int64  // lines from the end; negative: all
	LimitBytes int64  // negative: no limit
	Since      string // a duration ("5m") or a time (RFC 3339); empty: from the beginning
	Timestamps bool
}

// Logs prints a container's log.
func (c *Client) Logs(ctx context.Context, id string, o LogOptions) error {
	response, err := c.runtime.ContainerStatus(ctx, id, false)
	if err != nil {
		return err
	}
	status := response.GetStatus()
	path := status.GetLogPath()
	if path == "" {
		return fmt.Errorf("%s has no log", id)
	}
	if o.Previous {
		attempt := status.GetMetadata().GetAttempt()
		if attempt == 0 {
			return fmt.Errorf("%s is the first run of its container", id)
		}
		path = filepath.Join(filepath.Dir(path), strconv.Itoa(int(attempt)-1)+".log")
	}
	options := &logs.LogOptions{Follow: o.Follow && !o.Previous, Timestamp: o.Timestamps}
	if o.Tail >= 0 {
		options.TailLines = &o.Tail
	}
	if o.LimitBytes >= 0 {
		options.LimitBytes = &o.LimitBytes
	}
	if options.Since, err = since(o.Since, c.now()); err != nil {
		return err
	}
	return logs.ReadLogs(ctx, path, status.GetId(), options, c.runtime, c.Out, c.Err)
}

// since reads a duration before now, or a time.
func since(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("since %q: want a duration such as 5m, or a time such as 2026-01-02T15:04:05Z", text)
}
