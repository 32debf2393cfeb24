package program

import (
	"slices"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	tests := map[string]string{
		"airgap":                               Whole,
		"airgap --help":                        Whole,
		"airgap server":                        Whole,
		"airgap verify x.airgap":               Desk,
		"/usr/local/bin/airgap install -":      Desk,
		"./airgap-0.1.0-amd64 build --help":    Desk,
		"airgap __complete verify":             Whole, // completion knows all verbs
		"airgap -d verify":                     Whole, // whatever that is
		"/usr/local/bin/kubectl diff -f x.yml": Whole,
		"airgap kubectl diff":                  Whole,
		"airgap Verify":                        Whole,
	}
	for line, want := range tests {
		if got := Of(strings.Fields(line), map[string]bool{"kubectl": true}); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	if got := Of(nil, nil); got != Whole {
		t.Errorf("no arguments at all: %s", got)
	}
}

func TestDeskVerbsAreSorted(t *testing.T) {
	if list := DeskVerbs(); !slices.IsSorted(list) {
		t.Error(list)
	}
}
