package main

import (
	"strings"
	"testing"

	"airgap/installer"
	"airgap/installer/preflight"
)

// Worst last, aligned, with colours for terminals alone; what a server says cannot command one.
func TestCheckScreen(t *testing.T) {
	findings := []installer.Finding{
		{Check: "join", Level: preflight.Fail, Text: "refused\x1b[2J\nas it is", Why: "w1", Remedy: "r1"},
		{Check: "disk", Level: preflight.Warn, Text: "little", Why: "w2", Remedy: "r2"},
		{Check: "hostname", Level: preflight.Pass, Text: "node-1"},
	}
	want := `pass  hostname  node-1
warn  disk      little
                why:    w2
                remedy: r2
fail  join      refused [2J as it is
                why:    w1
                remedy: r1
this machine cannot take the install: 1 pass, 1 warn, 1 fail
`
	if got := checkScreen(findings, false); got != want {
		t.Errorf("screen:\n%s\nwant:\n%s", got, want)
	}
	loud := checkScreen(findings, true)
	for _, code := range append([]string{colourCodes[plain]}, levelCodes[preflight.Pass], levelCodes[preflight.Warn], levelCodes[preflight.Fail]) {
		if !strings.Contains(loud, code) {
			t.Errorf("no %q", code)
		}
		loud = strings.ReplaceAll(loud, code, "")
	}
	if loud != want {
		t.Errorf("without its colours:\n%s", loud)
	}
	if got := checkScreen(nil, false); got != "this machine can take the install: 0 pass, 0 warn, 0 fail\n" {
		t.Errorf("nothing: %q", got)
	}
}
