package crictl

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A runtime that does not run is told at once, not when the time is up.
func TestConnectFailsAtOnce(t *testing.T) {
	folder := t.TempDir()
	left := filepath.Join(folder, "left.sock") // as after a kill
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	for _, endpoint := range []string{"unix://" + filepath.Join(folder, "none.sock"), left} {
		began := time.Now()
		_, err := Connect(context.Background(), endpoint, time.Minute, Streams{})
		if err == nil || !strings.Contains(err.Error(), "the node does not run") {
			t.Errorf("%s: %v", endpoint, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s took %s", endpoint, took)
		}
	}
}
