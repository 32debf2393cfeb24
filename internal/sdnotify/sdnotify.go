// Package sdnotify tells a service manager how a service is, by systemd's protocol (sd_notify(3)), which
// `airgap supervise` speaks, too.
//
// Where the manager is, and how often it wants to hear of the service, stand in the environment. The caller
// takes them out of it: Kubernetes' components would each announce themselves there, and what
// the service starts would inherit them.
package sdnotify

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Names of the environment variables of the protocol.
const (
	SocketVariable      = "NOTIFY_SOCKET"
	WatchdogVariable    = "WATCHDOG_USEC"
	WatchdogPIDVariable = "WATCHDOG_PID"
)

// Manager is a service manager. Nil is none: nothing is told then. A message that cannot be
// delivered is lost; a service does not depend on who watches it.
type Manager struct {
	socket   string
	watchdog time.Duration
}

// New is the manager of these variables' values; nil if there is none.
func New(socket, watchdogMicroseconds string) *Manager {
	if socket == "" {
		return nil
	}
	usec, err := strconv.ParseInt(watchdogMicroseconds, 10, 64)
	if err != nil || usec < 0 {
		usec = 0
	}
	return &Manager{socket: socket, watchdog: time.Duration(usec) * time.Microsecond}
}

// Watchdog is how long the service may be silent; 0: for ever.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready tells that the service serves.
func (m *Manager) Ready(status string) { m.send("READY=1", "STATUS="+oneLine(status)) }

// Status tells a person what the service does.
func (m *Manager) Status(text string) { m.send("STATUS=" + oneLine(text)) }

// Stopping tells that the service ends.
func (m *Manager) Stopping() { m.send("STOPPING=1", "STATUS=stopping") }

// Extend asks for d more, from now on, to start or stop.
func (m *Manager) Extend(d time.Duration) {
	m.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// Alive is a sign of life.
func (m *Manager) Alive() { m.send("WATCHDOG=1") }

// Hung tells that the service found itself hung, and should be ended and started again.
func (m *Manager) Hung() { m.send("WATCHDOG=trigger") }

func (m *Manager) send(lines ...string) {
	if m == nil {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // a manager that does not read holds nobody up
	_, _ = conn.Write([]byte(strings.Join(lines, "\n")))
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
