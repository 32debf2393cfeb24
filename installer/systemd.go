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
	"strconv"
	"strings"

	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// systemd is a node under systemd. Where systemd does not run, as in an image that is
// being made, the unit is only written and enabled.
type systemd struct {
	paths  config.Paths
	etc    string // /etc
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
	return append([]placement{
		{target: path, mode: 0o644, data: text},
		{target: s.wants(), link: path},
	}, kernelFiles(s.etc, s.paths)...), nil
}

// unitFile is the node's unit.
//
//   - It wants no network-online.target and no time-sync.target: there may be neither network nor time
//     server. time-set.target is the time as far as the machine can know it by itself.
//   - Pods outlive it: KillMode=process ends the node's own process alone, which ends its children, and
//     Delegate=yes leaves it the control groups below its own.
//   - It is always started again: a site has nobody to type reset-failed (StartLimitIntervalSec=0).
//   - An upgrade that nobody watches any more is undone before anything else (see [trialCommand]).
//   - At the machine's shutdown, and only then, the pods are stopped when the node has ended; the command asks
//     systemd for as long as that may take (EXTEND_TIMEOUT_USEC, hence NotifyAccess=exec).
//   - The watchdog is long, since a slow machine is not a hung one (internal/watchdog).
//   - What it logs is bounded in rate here, and in size by journald (SystemMaxUse: a tenth of the disk).
func unitFile(p config.Paths, verb string) ([]byte, error) {
	for _, path := range []string{p.DataDir, p.ConfigFile()} {
		if strings.ContainsAny(path, " \t\n\"'\\%$;") {
			return nil, fmt.Errorf("%w: %q has characters that a systemd unit cannot hold; choose a plain path with --data-dir", ErrUsage, path)
		}
	}
	return fmt.Appendf(nil, `[Unit]
Description=airgap: Kubernetes node
After=network.target local-fs.target time-set.target systemd-modules-load.service systemd-sysctl.service
StartLimitIntervalSec=0
RequiresMountsFor=%[1]s

[Service]
Type=notify
NotifyAccess=exec
ExecStartPre=-/bin/sh -c '%[5]s'
ExecStart=%[2]s/bin/airgap %[4]s --data-dir %[1]s --config %[3]s
ExecStopPost=-/bin/sh -c 'test "$$(systemctl is-system-running)" != stopping || exec %[6]s'
Restart=always
RestartSec=2
TimeoutStartSec=0
TimeoutStopSec=%[7]d
WatchdogSec=%[8]d
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-900
LogRateLimitIntervalSec=30
LogRateLimitBurst=5000

[Install]
WantedBy=multi-user.target
`, p.DataDir, p.Current(), p.ConfigFile(), verb, trialCommand(p), stopPodsCommand(p),
		int(stopTimeout.Seconds()), int(config.WatchdogTimeout.Seconds())), nil
}

// stopTimeout is how long a service manager waits for a node that says nothing to end.
const stopTimeout = config.StopTimeout + 3*stopGrace

// trialCommand is a line for a shell that undoes an unfinished upgrade, if there is one: by the version before,
// which is known to work. It does so before each start of the node.
func trialCommand(p config.Paths) string {
	return fmt.Sprintf("test ! -e %s || exec %s trial --data-dir %s", p.Trial(), filepath.Join(p.Previous(), "bin", "airgap"), p.DataDir)
}

// stopPodsCommand stops the node's pods in order, when the node itself has ended.
func stopPodsCommand(p config.Paths) string {
	return fmt.Sprintf("%s stop-pods --data-dir %s", filepath.Join(p.Current(), "bin", "airgap"), p.DataDir)
}

func (s *systemd) running() (bool, error) {
	if !s.booted {
		return false, nil
	}
	state, err := s.show("ActiveState")
	return state == "active" || state == "activating" || state == "reloading" || state == "deactivating", err
}

// restarts is systemd's count since the unit was last started by somebody.
func (s *systemd) restarts() (int, error) {
	if !s.booted {
		return 0, nil
	}
	count, err := s.show("NRestarts")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(count)
}

// show returns a property of the unit; its ActiveState is "inactive" also if it does not exist.
func (s *systemd) show(property string) (string, error) {
	out, err := exec.Command("systemctl", "show", "--property="+property, "--value", s.unit()).Output()
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

// forget removes the unit and makes systemd drop it.
func (s *systemd) forget(ctx context.Context) error {
	path := filepath.Join(s.dir, s.unit())
	_, err := os.Lstat(path)
	errs := []error{removeIfThere(s.wants()), removeIfThere(path)}
	_ = os.Remove(filepath.Dir(s.wants())) // if nothing else is wanted
	if err == nil && s.booted {
		errs = append(errs, s.systemctl(ctx, "daemon-reload"))
		_ = s.systemctl(ctx, "reset-failed", s.unit()) // fails unless it was in the failed state
	}
	return errors.Join(errs...)
}

func (s *systemd) systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
