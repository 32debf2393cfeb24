package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

var _ = register(newCompletionCommand)

func newCompletionCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completions for a shell",
		Long: `completion prints what makes a shell complete airgap's verbs, flags and values, and through it
those of airgap kubectl, airgap helm and airgap crictl, with the names of this cluster's objects.
The clients under names of their own (kubectl, helm, crictl) each have a completion verb.`,
		Example: `  source <(airgap completion bash)
  airgap completion fish > ~/.config/fish/completions/airgap.fish`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(e.stdout, true)
			case "zsh":
				return root.GenZshCompletion(e.stdout)
			case "fish":
				return root.GenFishCompletion(e.stdout, true)
			}
			return &usageError{fmt.Errorf("no completions for %q; there are bash, zsh and fish", args[0])}
		},
	}
}
