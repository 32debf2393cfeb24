package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// openRC is a node under OpenRC: a script starts `airgap supervise` at boot, which keeps the node running,
// bounds its log and watches it. Where OpenRC does not run, as in an image that is being made, the
// script is only written and put into the default runlevel.
type openRC struct {
	supervised
	etc    string // /etc
	booted bool
}

func (s *openRC) name() string   { return s.paths.UnitName() }
func (s *openRC) script() string { return filepath.Join(s.etc, "init.d", s.name()) }
func (s *openRC) wants() string  { return filepath.Join(s.etc, "runlevels", "default", s.name()) }

func (s *openRC) about() string {
	if !s.booted {
		return "OpenRC service " + s.name() + ", for the next boot: OpenRC does not run here"
	}
	return "OpenRC service " + s.name()
}

func (s *openRC) files() ([]placement, error) {
	text, err := s.scriptFile()
	if err != nil {
		return nil, err
	}
	return append([]placement{
		{target: s.script(), mode: 0o755, data: text},
		{target: s.wants(), link: s.script()},
	}, kernelFiles(s.etc, s.paths)...), nil
}

// scriptFile is the service's script.
//
// It starts after the file systems are mounted, by whatever service does that here: OpenRC's own localmount, or Debian's mountall.sh. It
// needs neither by name, since a service that needs one that is not there never starts.
//
// OpenRC ends what is left in a service's control group only when rc_cgroup_cleanup asks for it: it must
// not, since the pods' shims are there. At the machine's shutdown, and only then, the pods are stopped too, when
// the node has ended: OpenRC sets RC_GOINGDOWN, but Debian's /etc/init.d/rc has it stop everything before, on the way
// to a runlevel "off", of which only the command line tells.
func (s *openRC) scriptFile() ([]byte, error) {
	for _, path := range []string{s.paths.DataDir, s.config} {
		if strings.ContainsAny(path, " \t\n\"'\\$`;&|<>*?()") {
			return nil, fmt.Errorf("%w: %q has characters that an OpenRC script cannot hold; choose a plain path with --data-dir", ErrUsage, path)
		}
	}
	argv := s.command()
	return fmt.Appendf(nil, `#!/sbin/openrc-run
# The airgap node in %[1]s. Its log is %[2]s.
description="airgap: Kubernetes node"
command="%[3]s"
command_args="%[4]s"
command_background="no"
pidfile="%[5]s"
rc_ulimit="-n 1048576 -c unlimited -u unlimited"
rc_cgroup_cleanup="no"

depend() {
	use net
	after localmount mountall mountall.sh bootmisc modules sysctl hwclock swclock firewall cgroups
	keyword -timeout
}

start() {
	ebegin "Starting airgap"
	checkpath --directory --mode 0711 "%[6]s"
	start-stop-daemon --start --background --pidfile "$pidfile" --exec "$command" -- $command_args
	eend $?
}

going_down() {
	yesno "${RC_GOINGDOWN:-no}" && return 0
	for process in /proc/[0-9]*/cmdline; do
		case "$(tr '\000' ' ' <"$process" 2>/dev/null)" in
		*/openrc\ off\ * | */openrc\ shutdown\ * | */openrc\ reboot\ *) return 0 ;;
		esac
	done
	return 1
}

stop() {
	ebegin "Stopping airgap"
	start-stop-daemon --stop --pidfile "$pidfile" --retry TERM/%[7]d/KILL/5
	eend $? || return 1
	if going_down; then
		ebegin "Stopping the pods of airgap"
		%[8]s
		eend $?
	fi
}
`, s.paths.DataDir, s.paths.Log(), argv[0], strings.Join(argv[1:], " "), s.pidFile(), s.paths.Run(),
		int(stopTimeout.Seconds()), stopPodsCommand(s.paths)), nil
}

func (s *openRC) start(ctx context.Context) (tried bool, err error) {
	if !s.booted {
		return false, nil
	}
	if running, err := s.running(); running || err != nil {
		return true, err
	}
	// A supervisor that was killed leaves a service that counts as started.
	_ = s.rcService(ctx, s.name(), "zap")
	return true, s.rcService(ctx, s.name(), "start")
}

func (s *openRC) stop(ctx context.Context) error {
	if s.booted && exists(s.script()) {
		if err := s.rcService(ctx, "--ifstarted", s.name(), "stop"); err != nil {
			return err
		}
	}
	return s.supervised.stop(ctx) // what runs all the same
}

func (s *openRC) rcService(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "rc-service", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("rc-service %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// forget removes the script and what links to it.
func (s *openRC) forget() error {
	return errors.Join(removeIfThere(s.wants()), removeIfThere(s.script()))
}
