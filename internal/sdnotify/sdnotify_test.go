package sdnotify

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m := New(path, "600000000")
	if m.Watchdog() != 10*time.Minute {
		t.Errorf("watchdog = %s", m.Watchdog())
	}
	for _, test := range []struct {
		send func()
		want string
	}{
		{func() { m.Ready("serves\non :6443") }, "READY=1\nSTATUS=serves on :6443"},
		{m.Stopping, "STOPPING=1\nSTATUS=stopping"},
		{func() { m.Extend(time.Minute) }, "EXTEND_TIMEOUT_USEC=60000000"},
		{m.Alive, "WATCHDOG=1"},
		{m.Hung, "WATCHDOG=trigger"},
		{func() { m.Status("x") }, "STATUS=x"},
	} {
		test.send()
		buffer := make([]byte, 200)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := conn.Read(buffer)
		if err != nil || string(buffer[:n]) != test.want {
			t.Errorf("%v: %q, want %q", err, buffer[:n], test.want)
		}
	}
}

// Nobody to tell, or nobody who listens, is no trouble.
func TestNobodyListens(t *testing.T) {
	New("", "1").Ready("x")
	New(filepath.Join(t.TempDir(), "none"), "").Alive()
	if w := New("", "5").Watchdog(); w != 0 {
		t.Errorf("watchdog without a manager: %s", w)
	}
	if w := New("/x", "nonsense").Watchdog(); w != 0 {
		t.Errorf("watchdog = %s", w)
	}
}
