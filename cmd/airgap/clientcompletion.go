//go:build !desk

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// completeClient asks a client of its own to complete its arguments: kubectl and helm are made with the same
// library and answer "__complete" as airgap itself does, a candidate a line and ":<directive>" last.
func completeClient(name string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		self, err := os.Executable()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		cmd := exec.Command(self, append(append([]string{"__complete"}, args...), toComplete)...)
		cmd.Args[0] = name // the executable is the client that it is called by
		out, err := cmd.Output()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return parseCompletions(out)
	}
}

// parseCompletions reads the output of "__complete".
func parseCompletions(out []byte) ([]string, cobra.ShellCompDirective) {
	var candidates []string
	for line := range strings.Lines(string(bytes.TrimSpace(out))) {
		line = strings.TrimSuffix(line, "\n")
		if number, ok := strings.CutPrefix(line, ":"); ok {
			if directive, err := strconv.Atoi(number); err == nil {
				return candidates, cobra.ShellCompDirective(directive)
			}
		}
		candidates = append(candidates, line)
	}
	return candidates, cobra.ShellCompDirectiveDefault
}
