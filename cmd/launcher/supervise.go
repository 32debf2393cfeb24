package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"airgap/internal/supervise"
)

const superviseUsage = `Usage: airgap supervise --pid-file F --log F -- COMMAND [ARGUMENT]...

Keeps COMMAND running on a host without an init system: starts it again whenever it fails
or is killed, and ends when it exits with 0 or when this process gets SIGTERM or SIGINT, which
are passed on. Its output goes to the log, of which at most 2 x 10 MiB are kept.
`

// superviseVerb runs `airgap supervise`, and returns the exit code: 2 for wrong usage.
func superviseVerb(args []string) int {
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), superviseUsage) }
	pidFile := flags.String("pid-file", "", "")
	logFile := flags.String("log", "", "")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case *pidFile == "" || *logFile == "" || flags.NArg() == 0:
		flags.Usage()
		return 2
	}
	if err := runSupervised(*pidFile, *logFile, flags.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "airgap supervise:", err)
		return 1
	}
	return 0
}

func runSupervised(pidFile, logFile string, command []string) (err error) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP) // the terminal it was started from may go away

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
	return supervise.Run(supervise.Options{Command: command, Log: log, Stop: stop})
}
