package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"airgap/installer/support"
	"airgap/internal/progress"
)

var _ = register(newSupportCommand)

func newSupportCommand(e *env) *cobra.Command {
	o := support.Options{}
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Write one archive with all that helps to find out what is wrong here",
		Long: `Write one archive (tar.gz) with all that somebody far away needs to find out what is wrong with this machine:
how the node stands, configuration, logs of the node, the kernel and the containers, events, installs, disks, network. It
works while the node is down, takes at most --timeout, and has no keys, tokens or passwords. index.txt in it says what is what.`,
		Example: `  airgap support -o /media/stick
  airgap support -o - | ssh desk 'cat >support.tar.gz'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("not root: run it with sudo")
			}
			var err error
			if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
				return err
			}
			if o.Executable, err = os.Executable(); err != nil {
				return err
			}
			o.Stdout, o.Now = e.stdout, e.now()
			if isTerminal(e.stderr) {
				o.Progress = func(name string) { _, _ = io.WriteString(e.stderr, "\r\x1b[K"+name) }
			}
			result, err := support.Write(cmd.Context(), o)
			if isTerminal(e.stderr) {
				_, _ = io.WriteString(e.stderr, "\r\x1b[K")
			}
			if err != nil || result.File == "" {
				return err
			}
			p := &printer{w: e.stdout}
			p.line("%s (%s)", result.File, progress.Bytes(result.Bytes))
			if result.Notes > 0 {
				p.line("%d things could not be had or were cut short; notes.txt in it says which", result.Notes)
			}
			return p.err
		},
	}
	cmd.Flags().StringVarP(&o.DataDir, "data-dir", "d", nodeDataDir(), "data `folder` of the node")
	cmd.Flags().StringVarP(&o.Output, "output", "o", ".", "`file` or folder to write to; - is standard output")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", support.DefaultTimeout, "longest time it may take")
	return cmd
}
