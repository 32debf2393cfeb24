package installer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"airgap/installer/preflight"
	"airgap/installer/preflight/preflighttest"
)

// What a machine sees of its server before it joins, by real TLS.
func TestLookAtServer(t *testing.T) {
	c := newCluster(t, newSite(t).retained())
	join := &JoinOptions{Server: c.url, Token: c.token}
	seen := lookAtServer(join)
	if now := time.Now(); seen.Err != nil || now.Before(seen.NotBefore) || now.After(seen.NotAfter) {
		t.Errorf("saw %+v", seen)
	}
	other := newCluster(t, newSite(t).retained())
	for name, test := range map[string]struct {
		join JoinOptions
		want string
	}{
		"another cluster":     {JoinOptions{Server: other.url, Token: c.token}, "this is another cluster"},
		"nobody":              {JoinOptions{Server: "https://127.0.0.1:1", Token: c.token}, "connection refused"},
		"another certificate": {JoinOptions{Server: strings.Replace(c.url, "127.0.0.1", "127.0.0.2", 1), Token: c.token}, "127.0.0.2"},
	} {
		if seen := lookAtServer(&test.join); seen.Err == nil || !strings.Contains(seen.Err.Error(), test.want) {
			t.Errorf("%s: saw %+v, want %q", name, seen, test.want)
		}
	}
}

// A clock that is before the server's certificate is raised, since nothing else would go; one that is after it is a person's to judge.
func TestClockAgainstTheServer(t *testing.T) {
	first, _, _ := firstMachine(t)
	now := preflighttest.Machine().Now
	for name, test := range map[string]struct {
		from, to time.Duration // of the certificate's time, from the machine's
		raised   bool
		want     string // of the error
	}{
		"in time":   {-time.Hour, time.Hour, false, ""},
		"behind":    {time.Hour, 2 * time.Hour, true, ""},
		"far ahead": {-2 * time.Hour, -time.Hour, false, "server: the clock says"},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := newCluster(t, first.retained()), newSite(t)
			s.key = first.key
			o := s.joining(c)
			o.facts = func(r *run) (Facts, error) {
				f := preflighttest.Machine()
				f.Installed = r.installed()
				if !isAgent(r.paths) {
					f.Server = &preflight.ServerFacts{NotBefore: now.Add(test.from), NotAfter: now.Add(test.to)}
				}
				return f, nil
			}
			var raised time.Time
			o.setClock = func(to time.Time) error { raised = to; return nil }
			_, err := Join(context.Background(), o)
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if raised.IsZero() == test.raised || test.raised && !raised.Equal(now.Add(test.from)) {
				t.Errorf("the clock is set to %s", raised)
			}
			var problems *PreflightError
			if test.want != "" && (!errors.As(err, &problems) || exists(s.path("data")) || c.joins > 0) {
				t.Errorf("%v; joined %d times", err, c.joins)
			}
		})
	}
}
