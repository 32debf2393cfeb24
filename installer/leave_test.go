package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"airgap/internal/site"
)

// An agent that is removed leaves its cluster first. What keeps it from leaving keeps it from being removed; what keeps it from
// asking does not.
func TestUninstallLeavesTheCluster(t *testing.T) {
	first := newSite(t)
	for name, test := range map[string]struct {
		leave func(*int, *site.LeaveRequest) http.HandlerFunc
		force bool
		asked int
		want  string // of the error; empty: removed
		told  string
	}{
		"at once": {asked: 1, told: "node-2 is no node of the cluster any more", leave: func(asked *int, got *site.LeaveRequest) http.HandlerFunc {
			return leaving(asked, got, site.LeaveResponse{Left: true})
		}},
		"by force": {asked: 1, force: true, told: "node-2 is no node", leave: func(asked *int, got *site.LeaveRequest) http.HandlerFunc {
			return leaving(asked, got, site.LeaveResponse{Left: true})
		}},
		"after its pods": {asked: 2, told: "node-2 is no node", leave: func(asked *int, got *site.LeaveRequest) http.HandlerFunc {
			return leaving(asked, got, site.LeaveResponse{Waiting: []string{"demo/web: is ending"}}, site.LeaveResponse{Left: true})
		}},
		"pods that stay": {asked: 3, want: "demo/web: a budget forbids it", leave: func(asked *int, got *site.LeaveRequest) http.HandlerFunc {
			return leaving(asked, got, site.LeaveResponse{Waiting: []string{"demo/web: a budget forbids it"}})
		}},
		"deleted before": {asked: 1, told: "was no node", leave: func(asked *int, _ *site.LeaveRequest) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				*asked++
				w.WriteHeader(http.StatusForbidden)
				_ = json.NewEncoder(w).Encode(site.Error{Code: site.CodeName, Message: "there is no node node-2"})
			}
		}},
		"no server": {asked: 1, told: "airgap kubectl delete node node-2", leave: func(asked *int, _ *site.LeaveRequest) http.HandlerFunc {
			return func(http.ResponseWriter, *http.Request) {
				*asked++
				panic(http.ErrAbortHandler)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := newCluster(t, first.retained()), newSite(t)
			s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
			o := s.options("a.airgap")
			joinOptions(&o, c.url, c.token.Text())
			if _, err := Join(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			asked, got, out := 0, site.LeaveRequest{}, bytes.Buffer{}
			c.leave = test.leave(&asked, &got)
			err := Uninstall(context.Background(), UninstallOptions{
				DataDir: s.path("data"), EtcDir: s.path("etc"), SystemdDir: s.path("systemd"), BinDir: s.path("bin"), Out: &out, Force: test.force, leaveTimeout: 2500 * time.Millisecond,
			})
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if !strings.Contains(out.String(), test.told) {
				t.Errorf("told no %q:\n%s", test.told, &out)
			}
			if asked < test.asked || got.Force != test.force || got != (site.LeaveRequest{}) && got.Password != c.request.Password {
				t.Errorf("asked %d times, at last %+v", asked, got)
			}
			if removed := !exists(s.path("data")); removed != (test.want == "") {
				t.Errorf("removed: %v", removed)
			}
		})
	}
}

// leaving answers with responses in order, the last one again and again.
func leaving(asked *int, got *site.LeaveRequest, responses ...site.LeaveResponse) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(got)
		_ = json.NewEncoder(w).Encode(responses[min(*asked, len(responses)-1)])
		*asked++
	}
}
