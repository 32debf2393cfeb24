package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"

	"airgap/internal/atomicfile"
	"airgap/internal/child"
	"airgap/internal/sdnotify"
	"airgap/node/agent"
	"airgap/node/config"
	"airgap/node/controlplane"
	"airgap/node/kernel"
)

// Options are what a running node needs besides its configuration.
type Options struct {
	Executable string   // absolute path of this executable; its folder holds the distribution's others
	Env        []string // environment of the child processes
	Log        *os.File // their standard output and error
	Airgap     string   // version of this executable

	Manager *sdnotify.Manager // who looks after this process; nil: nobody
}

// Server runs a server until ctx is done, or until a part of it fails in a way that only a
// new process mends.
func Server(ctx context.Context, cfg *config.Server, o Options) (err error) {
	setUpLogging(cfg.Debug)
	raiseClock(config.PathsOf(cfg.DataDir))
	if err := keepName(&cfg.Agent); err != nil {
		return err
	}
	foundAddress := cfg.NodeIP == ""
	if err := completeFromHost(&cfg.Agent); err != nil {
		return err
	}
	if cfg.ProtectKernelDefaults && !cfg.DisableAgent {
		if err := errors.Join(kernel.Wrong(kernel.Root, kernel.Settings)...); err != nil {
			return err
		}
	}
	if !cfg.DisableAgent {
		if _, err := agent.Registries(&cfg.Agent); err != nil {
			return err // said here once; the agent would say it at each of its starts
		}
	}
	if cfg.AdvertiseAddress == "" {
		cfg.AdvertiseAddress = firstOf(cfg.NodeIP)
	}
	cfg.ServerURL = cfg.URL()
	paths := config.PathsOf(cfg.DataDir)
	unlock, err := Lock(paths)
	if err != nil {
		return err
	}
	defer unlock()
	state := newServerState(paths)
	defer func() { state.ended(err) }()
	if err := repairDatastore(ctx, cfg); err != nil {
		return err
	}
	if !cfg.DisableAgent {
		release, err := claimNetwork(cfg.DataDir)
		if err != nil {
			return err
		}
		defer release()
	}
	if err := controlplane.CheckPort(cfg); err != nil {
		return err
	}
	if err := controlplane.Prepare(cfg); err != nil {
		return err
	}
	if err := writePackaged(cfg); err != nil {
		return err
	}

	joining, err := newJoining(cfg, o.Airgap, slog.Default())
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go keepClock(ctx, paths, cancel)
	if foundAddress {
		go followAddresses(ctx, cfg.NodeIP, addressLooks, func() (string, error) { return addressesOf(&cfg.Agent) }, cancel)
	}
	if cfg.EnablePprof {
		if err := servePprof(ctx, paths.Run(), "server"); err != nil {
			return err
		}
	}
	o.Manager.Status("starting")
	stopping := context.AfterFunc(ctx, o.Manager.Stopping)
	defer stopping()
	abortAgent := make(chan struct{}, 1)
	go watchServer(ctx, cfg, o.Manager, abortAgent)
	agentEnded := make(chan struct{})
	if cfg.DisableAgent {
		close(agentEnded)
	} else {
		// The agent starts at once: containerd comes up while the API server does.
		agentCtx, stopAgent := context.WithCancel(context.Background())
		stop := context.AfterFunc(ctx, stopAgent)
		defer stop()
		go func() {
			defer close(agentEnded)
			if err := runAgentChild(agentCtx, cfg, paths, o, abortAgent); err != nil {
				cancel(err)
			}
		}()
	}
	err = controlplane.Run(ctx, cfg, joining.Before, append(addOns(cfg, slog.Default()), joiningAddOn(joining), announceAddOn(cfg, slog.Default()), snapshotsAddOn(cfg, o.Airgap), repairsAddOn(cfg)), func(components []string) {
		state.runs(components, cfg)
		o.Manager.Ready("serving Kubernetes on " + cfg.ServerURL)
	})
	cancel(err)
	<-agentEnded
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// Agent runs the half of a server's node that runs pods, until ctx is done or a part of it fails.
// The server has put its credentials in place.
func Agent(ctx context.Context, cfg *config.Agent, o Options) error {
	setUpLogging(cfg.Debug)
	if cfg.EnablePprof {
		if err := servePprof(ctx, config.PathsOf(cfg.DataDir).Run(), "agent"); err != nil {
			return err
		}
	}
	return agent.Run(ctx, cfg, agent.Options{
		Executable: o.Executable, Env: o.Env, Log: o.Log, Version: o.Airgap, Repaired: repairsOf(cfg.DataDir),
	})
}

// setUpLogging lets several components apply their one logging configuration, and sets its level.
func setUpLogging(debug bool) {
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	if debug {
		var level klog.Level
		_ = level.Set(strconv.Itoa(config.DebugVerbosity)) // fails on what is no number
	}
}

// runAgentChild keeps the agent running as a child. Its configuration, complete, is handed
// over in a file.
func runAgentChild(ctx context.Context, cfg *config.Server, paths config.Paths, o Options, abort <-chan struct{}) error {
	file := paths.AgentHandover()
	if err := atomicfile.WriteJSON(file, cfg.Agent, 0o600); err != nil {
		return err
	}
	return child.Run(ctx, child.Spec{
		Name: "agent", Path: o.Executable, Args: []string{"airgap", "agent", "--from", file},
		Env: child.WithPath(o.Env, filepath.Dir(o.Executable)), Log: o.Log, Stop: config.StopTimeout - 2*time.Second, Abort: abort,
		Report: func(format string, args ...any) { klog.Warningf(format, args...) },
	})
}

// LoadAgent reads the configuration that a server handed over.
func LoadAgent(file string) (*config.Agent, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cfg := &config.Agent{}
	if err := json.Unmarshal(data, cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cfg, nil
}

// Lock makes sure that one node, or one command that needs it stopped, runs on a data folder, and leaves its
// process ID for those who stop it.
func Lock(paths config.Paths) (unlock func(), err error) {
	if err := os.MkdirAll(paths.Run(), 0o711); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(paths.ServerPID(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("a node already runs on %s (process %s)", paths.DataDir, pidIn(paths.ServerPID()))
		}
		return nil, err
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, err
	}
	return func() { os.Remove(paths.ServerPID()); f.Close() }, nil
}

// claimNetwork makes sure that one node runs in a network namespace.
func claimNetwork(dataDir string) (release func(), err error) {
	namespace, err := config.NetworkNamespace()
	if err != nil {
		return nil, err
	}
	return config.ClaimNetwork(config.NetworkClaims, namespace, dataDir)
}

func pidIn(file string) string {
	data, err := os.ReadFile(file)
	if err != nil || len(data) == 0 {
		return "unknown"
	}
	return string(data[:len(data)-1])
}

func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return first
}
