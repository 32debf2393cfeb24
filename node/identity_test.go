package node

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"airgap/node/config"
)

func TestANodeKeepsItsName(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := func(given string) string {
		t.Helper()
		a := config.NewAgent()
		a.DataDir, a.NodeName = dir, given
		if err := keepName(a); err != nil {
			t.Fatal(err)
		}
		return a.NodeName
	}
	if got := name(""); got != strings.ToLower(host) {
		t.Errorf("first start: %s", got)
	}
	if got := name("chosen"); got != "chosen" {
		t.Errorf("what was given counts: %s", got)
	}
	if got := name(""); got != "chosen" {
		t.Errorf("then it is kept: %s", got)
	}
}

func TestALostAddressStartsTheNodeAnew(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	go followAddresses(ctx, "192.0.2.77", time.Millisecond, func() (string, error) { return "192.0.2.78", nil }, cancel)
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("nothing happened")
	}
	if cause := context.Cause(ctx); cause == nil || !strings.Contains(cause.Error(), "192.0.2.78") {
		t.Errorf("%v", cause)
	}

	// Without a cable there is no other address, and nothing to start with.
	ctx, cancel = context.WithCancelCause(t.Context())
	asked := make(chan struct{}, 100)
	go followAddresses(ctx, "192.0.2.77", time.Millisecond, func() (string, error) { asked <- struct{}{}; return "", errors.New("none") }, cancel)
	<-asked
	<-asked
	if ctx.Err() != nil {
		t.Errorf("%v", context.Cause(ctx))
	}
	cancel(nil)
}
