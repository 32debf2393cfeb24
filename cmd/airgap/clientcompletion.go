//go:build !desk

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
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

// completeCtr asks ctr to complete its arguments. Its library answers "--generate-shell-completion" with all that can
// come next, a "name:description" a line.
func completeCtr(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	self, err := os.Executable()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	cmd := exec.Command(self, append(slices.Clone(args), "--generate-shell-completion")...)
	cmd.Args[0] = "ctr"
	out, err := cmd.Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return parseCtrCompletions(string(out), toComplete), cobra.ShellCompDirectiveNoFileComp
}

// parseCtrCompletions returns those candidates that begin as the word does, in cobra's form.
func parseCtrCompletions(out, toComplete string) []string {
	var candidates []string
	for line := range strings.Lines(out) {
		name, about, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "" && strings.HasPrefix(name, toComplete) {
			candidates = append(candidates, name+"\t"+about)
		}
	}
	return candidates
}

// answerCompletion is "ctr __complete WORD…", in the way of the other clients: the shell asks all of them alike.
func answerCompletion(args []string) {
	last := len(args) - 1
	candidates, directive := completeCtr(nil, args[:last], args[last])
	for _, c := range candidates {
		fmt.Println(c)
	}
	fmt.Printf(":%d\n", directive)
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
