package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// systemd is a node under systemd. Where systemd does not run, as in an image that is
// being made, the unit is only written and enabled.
type systemd struct {
	paths  config.Paths
	dir    string // /etc/systemd/system
	verb   string // of the executable
	booted bool
	host   hostinfo.Host
}

func (s *systemd) unit() string { return s.paths.UnitName() + ".service" }
func (s *systemd) hint() string { return "journalctl -u " + s.unit() + " -n 50" }

func (s *systemd) about() string {
	if !s.booted {
		return "systemd unit " + s.unit() + ", for the next boot: systemd does not run here"
	}
	return "systemd unit " + s.unit()
}

// wants is the link that makes systemd start the unit at boot; what `systemctl enable` makes.
func (s *systemd) wants() string {
	return filepath.Join(s.dir, "multi-user.target.wants", s.unit())
}

func (s *systemd) files() ([]placement, error) {
	text, err := unitFile(s.paths, s.verb)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, s.unit())
	return []placement{
		{target: path, mode: 0o644, data: text},
		{target: s.wants(), link: path},
	}, nil
}

// unitFile is the node's unit.
//
// The node's processes are its own concern: KillMode=process leaves the pods and their shims
// alone when the service stops, Delegate=yes gives it the control groups below it. It is always
// started again: a site has nobody to type reset-failed (StartLimitIntervalSec=0). It wants no
// network-online.target, since there may be no network.
func unitFile(p config.Paths, verb string) ([]byte, error) {
	for _, path := range []string{p.DataDir, p.ConfigFile()} {
		if strings.ContainsAny(path, " \t\n\"'\\%$;") {
			return nil, fmt.Errorf("%w: %q has characters that a systemd unit cannot hold; choose a plain path with --data-dir", ErrUsage, path)
		}
	}
	return fmt.Appendf(nil, `[Unit]
Description=airgap: Kubernetes node
After=network.target local-fs.target
StartLimitIntervalSec=0
RequiresMountsFor=%[1]s

[Service]
Type=notify
ExecStart=%[2]s/bin/airgap %[4]s --data-dir %[1]s --config %[3]s
Restart=always
RestartSec=2
TimeoutStartSec=0
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`, p.DataDir, p.Current(), p.ConfigFile(), verb), nil
}

func (s *systemd) running() (bool, error) {
	if !s.booted {
		return false, nil
	}
	state, err := s.show()
	return state == "active" || state == "activating" || state == "reloading" || state == "deactivating", err
}

// show returns the unit's ActiveState; "inactive" also for a unit that does not exist.
func (s *systemd) show() (string, error) {
	out, err := exec.Command("systemctl", "show", "--property=ActiveState", "--value", s.unit()).Output()
	if err != nil {
		return "", fmt.Errorf("systemctl show %s: %w", s.unit(), err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *systemd) start(ctx context.Context) (tried bool, err error) {
	if !s.booted {
		return false, nil
	}
	if err := s.systemctl(ctx, "daemon-reload"); err != nil {
		return true, err
	}
	// The wait for readiness is ours: it can say what is missing.
	return true, s.systemctl(ctx, "start", "--no-block", s.unit())
}

func (s *systemd) stop(ctx context.Context) error {
	if !s.booted {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(s.dir, s.unit())); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.systemctl(ctx, "stop", s.unit())
}

// forget makes systemd drop a unit whose file has been removed.
func (s *systemd) forget(ctx context.Context) error {
	if !s.booted {
		return nil
	}
	if err := s.systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	_ = s.systemctl(ctx, "reset-failed", s.unit()) // fails unless it was in the failed state
	return nil
}

func (s *systemd) systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
