package preflight

import (
	"fmt"
	"strings"
)

// Level is how much a finding matters.
type Level string

// The levels of findings.
const (
	Pass Level = "pass"
	Warn Level = "warn" // hurts later, and does not stop an install
	Fail Level = "fail" // a node would not run here
)

// Finding is one thing that a preflight has to say.
type Finding struct {
	Check  string `json:"check"`            // what was looked at: "disk", "ports"
	Level  Level  `json:"level"`            //
	Text   string `json:"text"`             // what was found, with the object and figures
	Why    string `json:"why,omitempty"`    // what comes of it; empty for a pass
	Remedy string `json:"remedy,omitempty"` // what to do; empty for a pass
}

func (f Finding) String() string {
	parts := []string{f.Check + ": " + f.Text}
	for _, part := range []string{f.Why, f.Remedy} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}

// Error carries every finding that stops an install.
type Error struct {
	Problems []Finding
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Summary())
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// Summary is the error in one line, for where the findings are shown already.
func (e *Error) Summary() string {
	plural := "s"
	if len(e.Problems) == 1 {
		plural = ""
	}
	return fmt.Sprintf("the machine cannot take this install: %d problem%s", len(e.Problems), plural)
}

// Problems returns the findings that stop an install as an [*Error]; nil if there are none.
func Problems(findings []Finding) error {
	if problems := Only(findings, Fail); len(problems) > 0 {
		return &Error{Problems: problems}
	}
	return nil
}

// Only returns the findings of one level.
func Only(findings []Finding, level Level) []Finding {
	var found []Finding
	for _, f := range findings {
		if f.Level == level {
			found = append(found, f)
		}
	}
	return found
}
