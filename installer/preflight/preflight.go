// Package preflight judges whether a machine can take an install, and what of it would hurt a node later.
//
// [Look] gathers [Facts]: what the machine's files tell, below a root folder that is handed in, and what its kernel
// does when it is tried. [Judge] makes [Finding]s of them, and touches nothing: tests describe machines as they like.
//
// A finding is a failure only if a node would really not run, or would not keep what it is given; it is a warning if
// the node runs, and something will hurt it later. What the installer adapts to by itself passes, and
// is said. Everything that was looked at has a finding, so that one can see what was.
package preflight

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/Masterminds/semver/v3"

	"airgap/bundle"
	"airgap/node/config"
)

// Subject is what is to be installed.
type Subject struct {
	Server  *config.Server     // the node's configuration; an agent has the half that is about it
	Agent   bool               // the machine is, or becomes, a node of a cluster that others serve
	Version string             // of this executable
	Bundles []*bundle.Manifest // in the order of their install; empty: none is named
	Fetched bool               // they come from other nodes, and not from a medium
	Init    string             // what runs the node: "systemd", "none" …
	NoBoot  bool               // nothing was found that could start the node at boot, and nobody has asked for that
	BinDir  string             // where the command `airgap` goes
}

// checks is everything that is looked at, in the order of the findings.
var checks = []struct {
	name  string // of its findings
	judge func(*checker)
}{
	{"install", (*checker).install},
	{"root", (*checker).root},
	{"platform", (*checker).platform},
	{"version", (*checker).version},
	{"distribution", (*checker).distribution},
	{"service", (*checker).service},
	{"cpu", (*checker).cpu},
	{"memory", (*checker).memory},
	{"swap", (*checker).swap},
	{"clock", (*checker).clock},
	{"entropy", (*checker).entropy},
	{"limits", (*checker).limits},
	{"tools", (*checker).tools},
	{"kernel", (*checker).kernel},
	{"settings", (*checker).settings},
	{"cgroups", (*checker).cgroups},
	{"hostname", (*checker).hostname},
	{"machine-id", (*checker).machineID},
	{"hosts", (*checker).hosts},
	{"address", (*checker).address},
	{"networks", (*checker).networks},
	{"ports", (*checker).ports},
	{"route", (*checker).route},
	{"nameserver", (*checker).nameserver},
	{"firewall", (*checker).firewall},
	{"server", (*checker).server},
	{"kubernetes", (*checker).kubernetes},
	{"runtimes", (*checker).runtimes},
	{"selinux", (*checker).selinux},
	{"apparmor", (*checker).apparmor},
	{"data-dir", (*checker).dataDir},
	{"disk", (*checker).disk},
	{"inodes", (*checker).inodes},
	{"logs", (*checker).logs},
	{"etc", (*checker).etc},
	{"command", (*checker).command},
}

// Judge says what the facts mean for the subject: everything, not just the first problem.
func Judge(f Facts, s Subject) []Finding {
	c := &checker{facts: f, Subject: s}
	for _, check := range checks {
		c.name, c.begun = check.name, len(c.findings)
		check.judge(c)
	}
	return c.findings
}

// checker is one judgement under way.
type checker struct {
	Subject
	facts    Facts
	name     string // of the check
	begun    int    // how many findings there were before it
	findings []Finding
}

func (c *checker) pass(format string, args ...any) {
	c.findings = append(c.findings, Finding{Check: c.name, Level: Pass, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) warn(why, remedy, format string, args ...any) {
	c.findings = append(c.findings, Finding{Check: c.name, Level: Warn, Text: fmt.Sprintf(format, args...), Why: why, Remedy: remedy})
}

func (c *checker) fail(why, remedy, format string, args ...any) {
	c.findings = append(c.findings, Finding{Check: c.name, Level: Fail, Text: fmt.Sprintf(format, args...), Why: why, Remedy: remedy})
}

// otherwise passes unless the check has found something already.
func (c *checker) otherwise(format string, args ...any) {
	if len(c.findings) == c.begun {
		c.pass(format, args...)
	}
}

// ThisPlatform is the platform of the executable, and so of the machine.
func ThisPlatform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// Older says whether semantic version a is below b. No b is below everything.
func Older(a, b string) bool {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	return errA == nil && errB == nil && va.LessThan(vb)
}

// SamePlatform says whether a bundle's platform, "linux/arm64/v8", is the machine's, "linux/arm64".
func SamePlatform(of, machine string) bool {
	return of == machine || strings.HasPrefix(of, machine+"/")
}
