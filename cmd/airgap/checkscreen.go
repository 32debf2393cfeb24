package main

import (
	"fmt"
	"strings"
	"unicode"

	"airgap/installer"
	"airgap/installer/preflight"
)

// levelCodes are the terminal's colours of levels.
var levelCodes = map[preflight.Level]string{preflight.Pass: "\x1b[32m", preflight.Warn: "\x1b[33m", preflight.Fail: "\x1b[31m"}

// checkScreen draws the findings as a table, the worst last, where one looks first.
func checkScreen(findings []installer.Finding, colour bool) string {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	var b strings.Builder
	counts := ""
	for _, level := range []preflight.Level{preflight.Pass, preflight.Warn, preflight.Fail} {
		mark := string(level)
		if colour {
			mark = levelCodes[level] + mark + colourCodes[plain]
		}
		some := preflight.Only(findings, level)
		for _, f := range some {
			fmt.Fprintf(&b, "%s  %-*s  %s\n", mark, width, f.Check, printable(f.Text))
			for _, more := range []struct{ label, text string }{{"why:   ", f.Why}, {"remedy:", f.Remedy}} {
				if more.text != "" {
					fmt.Fprintf(&b, "%*s%s %s\n", len(level)+2+width+2, "", more.label, printable(more.text))
				}
			}
		}
		counts += fmt.Sprintf(", %d %s", len(some), level)
	}
	verdict := "this machine can take the install"
	if len(preflight.Only(findings, preflight.Fail)) > 0 {
		verdict = "this machine cannot take the install"
	}
	fmt.Fprintf(&b, "%s: %s\n", verdict, counts[len(", "):])
	return b.String()
}

// printable makes one line of a text, and nothing that a terminal obeys: a server may have written it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
