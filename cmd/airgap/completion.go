package main

import (
	_ "embed"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

var _ = register(newCompletionCommand)

// bashWords and bashLinks go before and after what cobra prints for bash.
//
//go:embed completion_words.bash
var bashWords string

//go:embed completion_links.bash
var bashLinks string

func newCompletionCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completions for a shell",
		Long: `completion prints what makes a shell complete airgap's verbs, flags and values, and through it
those of airgap kubectl, helm, ctr and crictl, with the names of this cluster's objects. In
bash it needs no other package, and links to airgap with those names are completed too.
In zsh and fish such links have completions of their own: kubectl completion zsh.`,
		Example: `  source <(airgap completion bash)
  airgap completion fish > ~/.config/fish/completions/airgap.fish`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				if _, err := io.WriteString(e.stdout, bashWords); err != nil {
					return err
				}
				if err := root.GenBashCompletionV2(e.stdout, true); err != nil {
					return err
				}
				_, err := io.WriteString(e.stdout, bashLinks)
				return err
			case "zsh":
				return root.GenZshCompletion(e.stdout)
			case "fish":
				return root.GenFishCompletion(e.stdout, true)
			}
			return &usageError{fmt.Errorf("no completions for %q; there are bash, zsh and fish", args[0])}
		},
	}
}
