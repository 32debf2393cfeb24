package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
)

//go:embed report.md.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report.md.tmpl").Parse(reportText))

// report is what the page tells.
type report struct {
	First, Last time.Time // of the runs that the outcomes come from
	Machine     string
	Totals      []total
	Failures    []line
	NodesMissed int    // specs that skipped themselves for want of a second node
	Skips       []line // the others that skipped themselves
	NotRun      []string
}

// total is a row of the table of totals.
type total struct {
	Title                                  string
	Specs, Passed, Failed, Skipped, NotRun int
	Hours                                  string // spent in specs, one after the other
}

// line is a spec with something said of it.
type line struct{ Spec, Text string }

// moreNodes is what a spec says that skips itself for want of nodes.
var moreNodes = regexp.MustCompile(`(?i)at least \d+ nodes|requires .*nodes|more than one node|multiple nodes`)

// newReport gathers what is known of all specs.
func newReport(all []string, kept *outcomes, known knownFailures) *report {
	r := &report{Machine: machine()}
	for _, s := range suites {
		t := total{Title: s.title}
		var seconds float64
		for _, spec := range all {
			if suiteOf(spec).name != s.name {
				continue
			}
			t.Specs++
			came, ran := kept.Specs[spec]
			if !ran {
				t.NotRun++
				r.NotRun = append(r.NotRun, spec)
				continue
			}
			seconds += came.Seconds
			r.span(came.Ended)
			switch came.State {
			case passed:
				t.Passed++
			case failed:
				t.Failed++
				r.Failures = append(r.Failures, line{spec, because(spec, came, known)})
			case skipped:
				t.Skipped++
				if moreNodes.MatchString(came.Message) {
					r.NodesMissed++
				} else {
					r.Skips = append(r.Skips, line{spec, firstLine(came.Message)})
				}
			}
		}
		t.Hours = (time.Duration(seconds) * time.Second).String()
		r.Totals = append(r.Totals, t)
	}
	return r
}

// span widens the time of the runs.
func (r *report) span(ended time.Time) {
	if r.First.IsZero() || ended.Before(r.First) {
		r.First = ended
	}
	if ended.After(r.Last) {
		r.Last = ended
	}
}

// because is the known cause of a failure, or what the spec said.
func because(spec string, came outcome, known knownFailures) string {
	c, ok := known[spec]
	switch {
	case !ok:
		return "**not explained yet**: " + firstLine(came.Message)
	case c.Issue != "":
		return c.Text + " (issue " + c.Issue + ")"
	}
	return c.Text
}

// machine tells what the specs ran on.
func machine() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return runtime.GOARCH
	}
	return fmt.Sprintf("%d cores, %s, Linux %s", runtime.NumCPU(), runtime.GOARCH, unix.ByteSliceToString(name.Release[:]))
}

// writeReport writes the page.
func writeReport(file string, all []string, kept *outcomes, known knownFailures) error {
	r := newReport(all, kept, known)
	for _, lines := range [][]line{r.Failures, r.Skips} {
		slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.Spec, b.Spec) })
		for i := range lines {
			lines[i].Text = strings.ReplaceAll(lines[i].Text, "|", `\|`) // would end a cell of the table
		}
	}
	var page bytes.Buffer
	if err := reportTemplate.Execute(&page, r); err != nil {
		return err
	}
	return atomicfile.Write(file, page.Bytes(), 0o644)
}
