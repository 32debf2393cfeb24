package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"airgap/internal/supervise"
)

const superviseUsage = `Usage: airgap supervise --pid-file F --log F [--watchdog T] [--trial DATA-DIR] -- COMMAND [ARGUMENT]...

Keeps COMMAND running on a host without an init system: starts it again whenever it fails
or is killed, and ends when it exits with 0 or when this process gets SIGTERM or SIGINT, which
are passed on. Its output goes to the log, of which at most 2 x 10 MiB are kept.

With --watchdog COMMAND must show a sign of life at least every T (sd_notify's WATCHDOG=1), or it is ended and
started again. With --trial an upgrade that nobody watches any more is undone before each start, by the version
before it: DATA-DIR/previous.
`

// superviseVerb runs `airgap supervise`, and returns the exit code: 2 for wrong usage.
func superviseVerb(args []string) int {
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), superviseUsage) }
	pidFile := flags.String("pid-file", "", "")
	logFile := flags.String("log", "", "")
	watchdog := flags.Duration("watchdog", 0, "")
	trial := flags.String("trial", "", "")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case *pidFile == "" || *logFile == "" || flags.NArg() == 0:
		flags.Usage()
		return 2
	}
	options := supervise.Options{Command: flags.Args()}
	if *trial != "" {
		options.Before = undoUpgrade(*trial)
	}
	if err := runSupervised(options, *pidFile, *logFile, *watchdog); err != nil {
		fmt.Fprintln(os.Stderr, "airgap supervise:", err)
		return 1
	}
	return 0
}

// undoUpgrade is the command that undoes an unfinished upgrade of the node in a data folder, if there is one.
func undoUpgrade(dataDir string) []string {
	return []string{"/bin/sh", "-c", `test ! -e "$0/install/trial.json" || exec "$0/previous/bin/airgap" trial --data-dir "$0"`, dataDir}
}

func runSupervised(options supervise.Options, pidFile, logFile string, watchdog time.Duration) (err error) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP) // the terminal it was started from may go away
	options.Stop = stop

	pid, err := supervise.CreatePIDFile(pidFile)
	if err != nil {
		return err
	}
	defer pid.Remove()
	log, err := supervise.OpenLog(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	options.Log = log
	options.Count = pidFile + ".restarts"
	if watchdog > 0 {
		if options.Watch, err = supervise.ListenWatchdog(filepath.Join(filepath.Dir(pidFile), "notify.sock"), watchdog); err != nil {
			return err
		}
		defer options.Watch.Close()
	}
	return supervise.Run(options)
}
