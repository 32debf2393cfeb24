package vm

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// hands is the channel to the machine's room script: one script after the other.
type hands struct {
	mu    sync.Mutex
	conn  net.Conn
	lines *bufio.Reader
}

// ready waits until the machine's script says that it reads.
func (h *hands) ready(patience time.Duration) error {
	if err := h.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for { // what a script before a reboot has still answered is of no interest
		line, err := h.lines.ReadString('\n')
		if err != nil || line == "ready\n" {
			return err
		}
	}
}

// run runs a script and returns all that it printed and its exit code.
func (h *hands) run(script string, patience time.Duration) (out string, code int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.send(script); err != nil {
		return "", 0, err
	}
	if err := h.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", 0, err
	}
	line, err := h.lines.ReadString('\n')
	if err != nil {
		return "", 0, fmt.Errorf("no answer: %w", err)
	}
	number, encoded, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", 0, fmt.Errorf("answer %q: %w", line, err)
	}
	code, err = strconv.Atoi(number)
	return string(data), code, err
}

// send starts a script without waiting for its end.
func (h *hands) send(script string) error {
	_, err := h.conn.Write([]byte(base64.StdEncoding.EncodeToString([]byte(script)) + "\n"))
	return err
}
