//go:build !desk

package main

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

func TestParseCompletions(t *testing.T) {
	for name, test := range map[string]struct {
		out       string
		want      []string
		directive cobra.ShellCompDirective
	}{
		"candidates with descriptions": {"pods\tthe pods\nnodes\n:4\n", []string{"pods\tthe pods", "nodes"}, cobra.ShellCompDirectiveNoFileComp},
		"none":                         {":0\n", nil, cobra.ShellCompDirectiveDefault},
		"a candidate with a colon":     {":x\n:4\n", []string{":x"}, cobra.ShellCompDirectiveNoFileComp},
		"cut off":                      {"pods\n", []string{"pods"}, cobra.ShellCompDirectiveDefault},
	} {
		t.Run(name, func(t *testing.T) {
			got, directive := parseCompletions([]byte(test.out))
			if !slices.Equal(got, test.want) || directive != test.directive {
				t.Errorf("got %q and %d, want %q and %d", got, directive, test.want, test.directive)
			}
		})
	}
}

func TestParseCtrCompletions(t *testing.T) {
	got := parseCtrCompletions("images:Manage images\nimport:Import: images\nversion:Print\n\n", "im")
	if want := []string{"images\tManage images", "import\tImport: images"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
