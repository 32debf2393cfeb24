package balancer

import (
	"context"
	"time"
)

// maxSilences is after how many checks in a row without any answer a server counts as gone.
const maxSilences = 2

// keepChecking connects to a server now and then until ctx is done.
func (b *Balancer) keepChecking(ctx context.Context, s *server) {
	for {
		c, err := b.dial(ctx, s)
		if err == nil {
			c.Close()
		}
		wait := b.tell(ctx, s, err, true)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-s.check:
		}
	}
}

// tell takes note of what an attempt to connect came to, a check or a client's, and says when the next check is due. Changes
// are logged, and nothing else.
func (b *Balancer) tell(ctx context.Context, s *server, err error, check bool) (next time.Duration) {
	if ctx.Err() != nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		if s.problem != "" {
			b.options.Log.Info("the server is reached again", "server", s.address, "after", time.Since(s.since).Round(time.Second))
			s.since = time.Now()
		}
		s.problem, s.silences = "", 0
		return wellInterval
	}
	if isSilence(err) && !check { // a thousand clients at once may overrun a server that is well
		select {
		case s.check <- struct{}{}:
		default:
		}
		return 0
	}
	if isSilence(err) {
		if s.silences++; s.silences < maxSilences {
			return 0
		}
	}
	if s.problem == "" {
		s.since = time.Now()
		b.options.Log.Error("the server is not reached", "server", s.address, "error", err, "connections", len(s.connections))
	}
	s.problem = err.Error()
	if !isRefusal(err) {
		for c := range s.connections {
			c.cut()
		}
	}
	return illInterval
}

// Server is one server as the balancer knows it.
type Server struct {
	Address     string    `json:"address"`
	Problem     string    `json:"problem,omitempty"` // why it is not used; empty if it is
	Since       time.Time `json:"since"`             // of the last change
	Connections int       `json:"connections"`
}

// Servers lists the servers in the order of preference.
func (b *Balancer) Servers() []Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Server, 0, len(b.servers))
	for _, s := range b.servers {
		list = append(list, Server{Address: s.address, Problem: s.problem, Since: s.since, Connections: len(s.connections)})
	}
	return list
}
