package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"airgap/internal/atomicfile"
)

// state is what became of a spec.
type state string

const (
	passed  state = "passed"
	failed  state = "failed"
	skipped state = "skipped" // by the spec itself: the cluster lacks what it is about
)

// outcome is what came of the latest run of a spec.
type outcome struct {
	State   state     `json:"state"`
	Seconds float64   `json:"seconds"`
	Message string    `json:"message,omitempty"` // why it failed or was skipped
	Ended   time.Time `json:"ended"`             // of the run's report
}

// outcomes are what is known from all runs, kept in a file.
type outcomes struct {
	file  string
	Specs map[string]outcome `json:"specs"` // by name
}

// openOutcomes reads the outcomes kept in a folder; none if there is no file yet.
func openOutcomes(folder string) (*outcomes, error) {
	o := &outcomes{file: filepath.Join(folder, "outcomes.json"), Specs: map[string]outcome{}}
	data, err := os.ReadFile(o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	return o, nil
}

// add puts newer outcomes in the place of older ones and writes the file.
func (o *outcomes) add(came map[string]outcome) error {
	for spec, c := range came {
		o.Specs[spec] = c
	}
	data, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return err
	}
	return atomicfile.Write(o.file, append(data, '\n'), 0o644)
}

// junit is the part of a JUnit report that is read, as github.com/onsi/ginkgo/v2/reporters writes it.
type junit struct {
	Suites []struct {
		Cases []struct {
			Name    string  `xml:"name,attr"` // "[It] " and the spec's name
			Status  string  `xml:"status,attr"`
			Seconds float64 `xml:"time,attr"`
			Failure string  `xml:"failure"`
			Error   string  `xml:"error"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// outOfTime is what ginkgo says of a spec that was running when the time of the whole suite was over.
const outOfTime = "A suite timeout occurred"

// readJUnit returns the outcomes of a run. Specs that were not selected, or did not come to their end because
// the run was ended, have none. A failure outside of specs, such as of the suite's set-up, is an error.
func readJUnit(file string) (map[string]outcome, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the suite has left no report: %w", err)
	}
	var report junit
	if err := xml.Unmarshal(data, &report); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	came := map[string]outcome{}
	var failures []error
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			o := outcome{Seconds: c.Seconds, Message: strings.TrimSpace(c.Failure + c.Error), Ended: info.ModTime().UTC()}
			switch {
			case c.Status == "passed":
				o.State = passed
			case c.Skipped != nil:
				message, said := strings.CutPrefix(c.Skipped.Message, "skipped - ")
				if !said {
					continue // not selected
				}
				o.State, o.Message = skipped, message
			case c.Status == "interrupted", c.Status == "aborted", strings.Contains(o.Message, outOfTime):
				continue
			default:
				o.State = failed
			}
			spec, isSpec := strings.CutPrefix(c.Name, "[It] ")
			if isSpec {
				came[spec] = o
			} else if o.State == failed {
				failures = append(failures, fmt.Errorf("%s: %s", c.Name, firstLine(o.Message)))
			}
		}
	}
	return came, errors.Join(failures...)
}

// firstLine returns the line of a failure's text that says most: the first that is not ginkgo's frame.
func firstLine(message string) string {
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		for _, frame := range []string{"[FAILED]", "[PANICKED]", "[TIMEDOUT]", "In [It]", "In ["} {
			line = strings.TrimSpace(strings.TrimPrefix(line, frame))
		}
		if line != "" {
			return line
		}
	}
	return "no message"
}
