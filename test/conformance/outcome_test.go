package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sample is a report as the suite writes it, cut down to one case of each kind.
const sample = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="7" disabled="0" errors="1" failures="2" time="60">
  <testsuite name="Kubernetes e2e suite" package="/" tests="7">
    <testcase name="[SynchronizedBeforeSuite]" classname="Kubernetes e2e suite" status="passed" time="0.1"></testcase>
    <testcase name="[It] [sig-a] good [Conformance]" classname="Kubernetes e2e suite" status="passed" time="2.5"></testcase>
    <testcase name="[It] [sig-a] bad [Conformance]" classname="Kubernetes e2e suite" status="failed" time="3">
      <failure message="" type="failed">[FAILED] pod never ran&#xA;In [It] at: a.go:1</failure>
    </testcase>
    <testcase name="[It] [sig-a] broken [Conformance]" classname="Kubernetes e2e suite" status="panicked" time="1">
      <error message="" type="panicked">[PANICKED] Test Panicked&#xA;In [It] at: a.go:2</error>
    </testcase>
    <testcase name="[It] [sig-a] lonely [Conformance]" classname="Kubernetes e2e suite" status="skipped" time="0">
      <skipped message="skipped - Requires at least 2 nodes (not 1)"></skipped>
    </testcase>
    <testcase name="[It] [sig-a] elsewhere" classname="Kubernetes e2e suite" status="skipped" time="0">
      <skipped message="skipped"></skipped>
    </testcase>
    <testcase name="[It] [sig-a] late [Feature:NetworkPolicy]" classname="Kubernetes e2e suite" status="timedout" time="9">
      <failure message="" type="timedout">[TIMEDOUT] A suite timeout occurred&#xA;In [It] at: a.go:3</failure>
    </testcase>
  </testsuite>
</testsuites>`

func readSample(t *testing.T, text string) (map[string]outcome, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "junit_01.xml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return readJUnit(file)
}

func TestReadJUnit(t *testing.T) {
	came, err := readSample(t, sample)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]state{
		"[sig-a] good [Conformance]":   passed,
		"[sig-a] bad [Conformance]":    failed,
		"[sig-a] broken [Conformance]": failed,
		"[sig-a] lonely [Conformance]": skipped,
	}
	if len(came) != len(want) {
		t.Errorf("%d outcomes, want %d: %v", len(came), len(want), came)
	}
	for spec, state := range want {
		if came[spec].State != state {
			t.Errorf("%s: %q, want %s", spec, came[spec].State, state)
		}
	}
	if got := firstLine(came["[sig-a] bad [Conformance]"].Message); got != "pod never ran" {
		t.Errorf("the failure says %q", got)
	}
	if got := came["[sig-a] lonely [Conformance]"].Message; !moreNodes.MatchString(got) {
		t.Errorf("%q is not seen to want more nodes", got)
	}
}

func TestReadJUnitOfASuiteThatDidNotStart(t *testing.T) {
	_, err := readSample(t, strings.Replace(sample, `[SynchronizedBeforeSuite]" classname="Kubernetes e2e suite" status="passed"`,
		`[SynchronizedBeforeSuite]" classname="Kubernetes e2e suite" status="failed"`, 1))
	if err == nil || !strings.Contains(err.Error(), "SynchronizedBeforeSuite") {
		t.Errorf("got %v", err)
	}
}

func TestVerdict(t *testing.T) {
	kept := &outcomes{Specs: map[string]outcome{
		"good": {State: passed}, "bad": {State: failed, Message: "no route"}, "lonely": {State: skipped},
	}}
	tests := map[string]struct {
		chosen []string
		known  knownFailures
		want   string // in the error; empty: none
	}{
		"all well":               {[]string{"good", "lonely"}, nil, ""},
		"a failure":              {[]string{"good", "bad"}, nil, "failed: bad\n\tno route"},
		"a known failure":        {[]string{"good", "bad"}, knownFailures{"bad": {Text: "c"}}, ""},
		"a known failure passes": {[]string{"good"}, knownFailures{"good": {Text: "c"}}, "known.yaml says that it fails: good"},
		"a spec did not run":     {[]string{"good", "absent"}, nil, "did not come to run: absent"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := verdict(test.chosen, kept, test.known)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	const a, b, n = "[sig-a] one [Conformance]", "[sig-b] two [Conformance]", "[sig-n] three [Feature:NetworkPolicy]"
	kept := &outcomes{Specs: map[string]outcome{a: {State: passed}, b: {State: failed}}}
	tests := map[string]struct {
		options options
		want    string
	}{
		"all":      {options{}, a + b + n},
		"a suite":  {options{suite: "netpol"}, n},
		"focused":  {options{focus: regexp.MustCompile("one |two ")}, a + b},
		"skipping": {options{skip: regexp.MustCompile("sig-[an]")}, b},
		"resumed":  {options{resume: true}, b + n},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(choose([]string{a, b, n}, &test.options, kept), ""); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestKnown holds that the checked-in list parses.
func TestKnown(t *testing.T) {
	known, err := readKnown("known.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for spec := range known {
		if suiteOf(spec).name == "" {
			t.Errorf("%s is in no suite", spec)
		}
	}
}

func TestReport(t *testing.T) {
	came, err := readSample(t, sample)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"[sig-a] absent [Conformance]"}
	for spec := range came {
		all = append(all, spec)
	}
	file := filepath.Join(t.TempDir(), "page.md")
	known := knownFailures{"[sig-a] bad [Conformance]": {Text: "the cause | in full", Issue: "7"}}
	if err := writeReport(file, all, &outcomes{Specs: came}, known); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| Conformance | 5 | 1 | 2 | 1 | 1 | 6s |",
		`| [sig-a] bad [Conformance] | the cause \| in full (issue 7) |`,
		"| [sig-a] broken [Conformance] | **not explained yet**: Test Panicked |",
		"1 of the skipped specs want at least two nodes",
		"- [sig-a] absent [Conformance]",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the page lacks %q:\n%s", want, data)
		}
	}
}
