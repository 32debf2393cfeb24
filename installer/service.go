package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// stopGrace is how long a node gets beyond its own [config.StopTimeout] before it is killed.
const stopGrace = 7 * time.Second

// service is the node's service, under whichever service manager.
type service interface {
	// files are those to be placed for it.
	files() ([]placement, error)
	// running says whether the node runs or is being kept running.
	running() (bool, error)
	// start starts the node if it does not run, and says whether it could be
	// tried: not where the service manager itself does not run, as in an image being made.
	start(ctx context.Context) (tried bool, err error)
	// stop ends the node; its pods live on. It is no error if the node does not run.
	stop(ctx context.Context) error
	// restarts is how often the running node was started again because it had ended by itself.
	restarts() (int, error)
	// hint is what a person runs to see the node's log, of which logTail returns the last lines.
	hint() string
	logTail(lines int) string
	// about says in a few words what the service is.
	about() string
}

// newService returns the service that o asks for.
func newService(o *Options, p config.Paths) service {
	plain := supervised{paths: p, host: o.host, verb: o.verb(), config: p.ConfigFile()}
	switch o.Init {
	case InitSystemd:
		return &systemd{paths: p, etc: o.EtcDir, dir: o.SystemdDir, verb: o.verb(), booted: o.host.Systemd(), host: o.host}
	case InitOpenRC:
		return &openRC{supervised: plain, etc: o.EtcDir, booted: o.host.OpenRC()}
	}
	return &plain
}

// verb is that of the executable which runs the node.
func (o *Options) verb() string {
	if o.agent {
		return "agent"
	}
	return "server"
}

// supervised is a node that `airgap supervise` keeps running, with no service manager. It
// is started detached and does not survive a reboot.
type supervised struct {
	paths  config.Paths
	host   hostinfo.Host
	verb   string
	config string
}

func (s *supervised) files() ([]placement, error) { return nil, nil }
func (s *supervised) hint() string                { return "tail -n 50 " + s.paths.Log() }
func (s *supervised) about() string               { return "a supervisor process, not started at boot (--init none)" }

// pidFile holds the supervisor's process ID.
func (s *supervised) pidFile() string { return filepath.Join(s.paths.Run(), "supervise.pid") }

func (s *supervised) running() (bool, error) {
	pids, err := s.processes()
	return len(pids) > 0, err
}

// processes returns the supervisor and the server of this data folder, as far as they run, the
// supervisor first. A process ID in a file is believed only if the process is what it should be: IDs are
// used again.
func (s *supervised) processes() ([]int, error) {
	var found []int
	for _, file := range []struct{ path, verb string }{
		{s.pidFile(), "supervise"},
		{s.paths.ServerPID(), "server"},
		{s.paths.ServerPID(), "agent"},
	} {
		pid, err := readPID(file.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := s.host.Process(pid)
		if err == nil && slices.Contains(p.Args, file.verb) && s.concerns(p) && !slices.Contains(found, pid) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// concerns says whether the process was told our data folder, or none and ours is the default.
func (s *supervised) concerns(p hostinfo.Process) bool {
	for i, arg := range p.Args {
		if value, ok := strings.CutPrefix(arg, "--data-dir="); ok {
			return filepath.Clean(value) == s.paths.DataDir
		}
		if (arg == "--data-dir" || arg == "-d") && i+1 < len(p.Args) {
			return filepath.Clean(p.Args[i+1]) == s.paths.DataDir
		}
	}
	return s.paths.DataDir == config.DefaultDataDir
}

// restarts is what the supervisor counts; none while it does not run.
func (s *supervised) restarts() (int, error) {
	data, err := os.ReadFile(s.pidFile() + ".restarts")
	if err != nil {
		return 0, ignoreNotExist(err)
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// command is the supervisor's, with its arguments.
func (s *supervised) command() []string {
	current := s.paths.Current()
	return []string{
		filepath.Join(current, "airgap"), "supervise", "--pid-file", s.pidFile(), "--log", s.paths.Log(),
		"--watchdog", config.WatchdogTimeout.String(), "--trial", s.paths.DataDir, "--",
		filepath.Join(current, "bin", "airgap"), s.verb, "--data-dir", s.paths.DataDir, "--config", s.config,
	}
}

func (s *supervised) start(context.Context) (tried bool, err error) {
	if running, err := s.running(); running || err != nil {
		return true, err
	}
	if err := os.MkdirAll(s.paths.Run(), 0o755); err != nil {
		return true, err
	}
	argv := s.command()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return true, err
	}
	defer null.Close()
	process, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Files: []*os.File{null, null, null},
		Sys:   &unix.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return true, fmt.Errorf("start the supervisor: %w", err)
	}
	return true, process.Release()
}

func (s *supervised) stop(ctx context.Context) error {
	pids, err := s.processes()
	if err != nil || len(pids) == 0 {
		return err
	}
	// The supervisor passes the signal on; a server that got it twice would not stop in order.
	if err := endProcesses(ctx, pids[:1], config.StopTimeout+stopGrace); err != nil {
		return err
	}
	return endProcesses(ctx, pids[1:], config.StopTimeout)
}

// readPID reads a file that holds a process ID.
func readPID(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid < 2 {
		return 0, fmt.Errorf("%s holds no process ID: %q", path, data)
	}
	return pid, nil
}

// endProcesses asks processes to end, and kills what still runs after grace. It returns when
// all have ended.
func endProcesses(ctx context.Context, pids []int, grace time.Duration) error {
	var open []int // pidfds: the processes themselves, whatever their IDs become
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		open = append(open, fd)
	}
	signal := func(sig unix.Signal) error {
		for _, fd := range open {
			if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("signal a process: %w", err)
			}
		}
		return nil
	}
	if err := signal(unix.SIGTERM); err != nil {
		return err
	}
	if err := awaitEnd(ctx, open, grace); !errors.Is(err, errStillRunning) {
		return err
	}
	if err := signal(unix.SIGKILL); err != nil {
		return err
	}
	return awaitEnd(ctx, open, stopGrace)
}

var errStillRunning = errors.New("processes do not end")

// awaitEnd waits until all processes have ended; a pidfd is readable from then on.
func awaitEnd(ctx context.Context, pidfds []int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for _, fd := range pidfds {
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, 50)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			if n > 0 {
				break
			}
			if time.Now().After(deadline) {
				return errStillRunning
			}
		}
	}
	return nil
}
