package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"airgap/installer"
)

const (
	screenColumns = 80
	labelColumns  = 14
	// How many are listed; JSON has all.
	mostListed   = 8
	mostProblems = 20
)

// statusScreen draws a status: a line for each part of the node, and one for each problem.
type statusScreen struct {
	now    time.Time
	colour bool

	text strings.Builder
}

// draw returns the screen.
func (d *statusScreen) draw(s *installer.Status) string {
	d.node(s)
	d.components(s)
	if s.API == "ready" && s.Role != installer.RoleAgent {
		d.workloads(s)
	}
	d.certificates(s)
	d.machine(s)
	d.installs(s)
	d.repairs(s)
	if len(s.Unseen) > 0 {
		d.row("not seen", "%s", strings.Join(s.Unseen, ", "))
	}
	d.verdict(s)
	return d.text.String()
}

func (d *statusScreen) node(s *installer.Status) {
	for _, n := range s.Nodes {
		state := d.good("Ready")
		if !n.Ready {
			state = d.bad("not Ready")
		}
		label := "node"
		if n.Name != s.Node {
			label = "other node"
		}
		parts := append([]string{n.Name + " " + state}, n.Roles...)
		parts = append(parts, n.Addresses...)
		for _, c := range n.Conditions {
			parts = append(parts, d.bad(c))
		}
		d.row(label, "%s", strings.Join(parts, ", "))
		if n.Name == s.Node {
			d.row("", "%s, Linux %s", n.OS, n.Kernel)
		}
		d.bundles(n, s)
	}
	if s.Role == installer.RoleAgent {
		d.agent(s)
	}
	switch {
	case s.Service != installer.ServiceRunning:
		d.row("service", "%s", d.bad(s.Service))
	case s.Since != nil:
		d.row("service", "running for %s", age(d.now.Sub(*s.Since)))
	default:
		d.row("service", "running")
	}
	if s.Airgap != "" {
		d.row("version", "airgap %s, Kubernetes %s", s.Airgap, s.Kubernetes)
	}
	if s.Datastore != nil {
		text := s.Datastore.Datastore
		if s.Datastore.SizeBytes > 0 {
			text += ", " + megabytes(s.Datastore.SizeBytes)
		}
		d.row("datastore", "%s", text)
	}
}

// bundles tells of another node what it has, and of each what it lacks.
func (d *statusScreen) bundles(n installer.NodeStatus, s *installer.Status) {
	if n.Airgap == "" {
		return
	}
	if n.Name != s.Node {
		parts := []string{"airgap " + n.Airgap}
		for _, b := range n.Bundles {
			parts = append(parts, b.Name+" "+b.Version)
		}
		d.row("", "%s", strings.Join(parts, ", "))
	}
	if len(n.Lacks) > 0 {
		d.row("", "lacks %s", strings.Join(n.Lacks, ", "))
	}
}

// agent tells of an agent's own half: who it is, and which servers it reaches.
func (d *statusScreen) agent(s *installer.Status) {
	name := s.Node
	if name == "" {
		name = "not joined yet"
	}
	d.row("node", "%s, agent", name)
	for _, server := range s.Servers {
		if server.Problem == "" {
			d.row("server", "%s %s since %s", server.Address, d.good("reached"), moment(server.Since))
		} else {
			d.row("server", "%s %s since %s", server.Address, d.bad("not reached"), moment(server.Since))
		}
	}
}

// components are named by what they do; why one has failed is among the problems.
func (d *statusScreen) components(s *installer.Status) {
	by := map[string][]string{}
	for _, c := range s.Components {
		name := c.Name
		if c.State == installer.ComponentOK && c.Name == "pod network" {
			name += " (" + c.Detail + ")"
		}
		by[c.State] = append(by[c.State], name)
	}
	label := "components"
	for _, state := range []string{
		installer.ComponentFailed, installer.ComponentStopped, installer.ComponentUnknown, installer.ComponentOK, installer.ComponentDisabled,
	} {
		names := strings.Join(by[state], ", ")
		switch {
		case names == "":
			continue
		case state == installer.ComponentFailed:
			names = d.bad("FAILED: " + names)
		case state == installer.ComponentOK:
			names = d.good(fmt.Sprintf("%d well", len(by[state]))) + ": " + names
		default:
			names = state + ": " + names
		}
		d.row(label, "%s", names)
		label = ""
	}
}

func (d *statusScreen) workloads(s *installer.Status) {
	if len(s.AddOns) > 0 {
		counts := map[string]int{}
		for _, a := range s.AddOns {
			counts[a.State]++
		}
		d.row("add-ons", "%s", d.tally(counts, "Applied", "Pending", "Failed", "Skipped"))
	}
	if len(s.Releases) > 0 {
		var ready []string
		for _, r := range s.Releases {
			if r.Ready {
				ready = append(ready, strings.TrimSpace(r.Namespace+"/"+r.Name+" "+r.Version))
			}
		}
		text := d.part(len(ready), len(s.Releases), "Ready")
		if len(ready) > 0 {
			text += ": " + strings.Join(ready[:min(len(ready), mostListed)], ", ")
		}
		if len(ready) > mostListed {
			text += fmt.Sprintf(" and %d more", len(ready)-mostListed)
		}
		d.row("releases", "%s", text)
		for _, r := range s.Releases {
			if r.Drift != "" {
				d.row("", "%s/%s: %s", r.Namespace, r.Name, r.Drift)
			}
		}
	}
	d.row("pods", "%s", d.part(s.Pods.Total-len(s.Pods.NotReady), s.Pods.Total, "Ready"))
	if len(s.Services) > 0 {
		d.row("services", "%s", d.bad(fmt.Sprintf("%d without an address", len(s.Services))))
	}
}

func (d *statusScreen) certificates(s *installer.Status) {
	if len(s.Certificates) == 0 {
		return
	}
	nearest := slices.MinFunc(s.Certificates, func(a, b installer.CertificateStatus) int { return a.NotAfter.Compare(b.NotAfter) })
	bad := 0
	for _, c := range s.Certificates {
		if c.Status != installer.CertificateGood {
			bad++
		}
	}
	text := fmt.Sprintf("%d good", len(s.Certificates)-bad)
	if bad > 0 {
		text += ", " + d.bad(fmt.Sprintf("%d not", bad))
	}
	if !nearest.NotAfter.IsZero() {
		when := fmt.Sprintf("the next ends in %d days", nearest.DaysLeft)
		if nearest.DaysLeft < 0 {
			when = fmt.Sprintf("one ended %d days ago", -nearest.DaysLeft)
		}
		text += fmt.Sprintf("; %s, %s (%s)", when, nearest.NotAfter.Format(time.DateOnly), nearest.Service)
	}
	d.row("certificates", "%s", text)
}

func (d *statusScreen) machine(s *installer.Status) {
	if disk := s.Disk; disk.TotalBytes > 0 {
		var parts []string
		for _, part := range []struct {
			what  string
			bytes int64
		}{{"images", disk.ImagesBytes}, {"datastore", disk.DatastoreBytes}, {"logs", disk.LogsBytes}} {
			if disk.AtLeast && part.what == "images" { // they are counted last
				part.what += " more than"
			}
			if part.bytes > 0 { // else nobody could look
				parts = append(parts, part.what+" "+megabytes(part.bytes))
			}
		}
		text := megabytes(disk.FreeBytes) + " of " + megabytes(disk.TotalBytes) + " free"
		if len(parts) > 0 {
			text += "; " + strings.Join(parts, ", ")
		}
		d.row("disk", "%s", text)
	}
	if len(s.Memory) > 0 {
		var sum int64
		var parts []string
		for _, m := range s.Memory {
			sum += m.PSSBytes
			role := m.Role
			if m.Role == "shims" {
				role = fmt.Sprintf("%d shims", m.Count)
			}
			parts = append(parts, role+" "+megabytes(m.PSSBytes))
		}
		d.row("memory", "%s: %s", megabytes(sum), strings.Join(parts, ", "))
	}
}

func (d *statusScreen) installs(s *installer.Status) {
	for _, b := range s.Bundles {
		d.row("bundle", "%s %s, accepted %s", b.Name, b.Version, moment(b.Time))
	}
	last := s.LastInstall
	if last == nil {
		return
	}
	if last.RolledBack != "" {
		d.row("last install", "%s %s, %s, was rolled back: %s", last.Bundle, last.Version, moment(last.Finished), last.RolledBack)
		return
	}
	signed := d.bad("NOT SIGNED")
	if !last.Unsigned {
		var ids []string
		for _, id := range last.Signers {
			ids = append(ids, id[:min(len(id), 16)])
		}
		signed = "signed by " + strings.Join(ids, ", ")
	}
	d.row("last install", "%s %s, %s, in %.1f s, %s", last.Bundle, last.Version, moment(last.Finished), last.Finished.Sub(last.Started).Seconds(), signed)
}

func (d *statusScreen) verdict(s *installer.Status) {
	if s.Healthy {
		d.row("", "")
		d.row("healthy", "yes")
		return
	}
	d.row("", "")
	for i, problem := range s.Problems {
		label := ""
		if i == 0 {
			label = "PROBLEMS"
		}
		if i == mostProblems && len(s.Problems) > i+1 {
			d.row(label, "and %d more: airgap status --output json", len(s.Problems)-i)
			break
		}
		d.row(label, "%s", d.bad(problem))
	}
	if s.Service == installer.ServiceStopped || s.API != "ready" {
		d.row("log", "%s", s.LogHint)
	}
}

// tally tells how many there are of each state, the first being the good one.
func (d *statusScreen) tally(counts map[string]int, states ...string) string {
	var parts []string
	for i, state := range states {
		if n := counts[state]; n > 0 {
			text := fmt.Sprintf("%d %s", n, state)
			if i == 0 {
				text = d.good(text)
			} else if state == "Failed" {
				text = d.bad(text)
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ", ")
}

// part tells how many of all are as they should be.
func (d *statusScreen) part(good, all int, word string) string {
	if good == all {
		return d.good(fmt.Sprintf("%d %s", all, word))
	}
	return d.bad(fmt.Sprintf("%d of %d %s", good, all, word))
}

// Marks of colours in a text, from Unicode's private use area: they take no column, and are put in place of the
// terminal's codes so that no text from a cluster can carry any.
const (
	red   = '\ue000'
	green = '\ue001'
	plain = '\ue002'
)

var colourCodes = map[rune]string{red: "\x1b[31m", green: "\x1b[32m", plain: "\x1b[0m"}

func (d *statusScreen) good(text string) string { return paint(green, text) }
func (d *statusScreen) bad(text string) string  { return paint(red, text) }

// paint marks each word by itself, for a row may be broken between them.
func paint(colour rune, text string) string {
	words := strings.Split(text, " ")
	for i := range words {
		words[i] = string(colour) + words[i] + string(plain)
	}
	return strings.Join(words, " ")
}

// row draws a label and a text, which goes on below itself where the screen ends.
func (d *statusScreen) row(label, format string, args ...any) {
	line, column := fmt.Sprintf("%-*s", labelColumns, label), labelColumns
	words := strings.FieldsFunc(fmt.Sprintf(format, args...), func(r rune) bool { return r == ' ' || unicode.IsControl(r) })
	for _, word := range words {
		word, width := d.render(word)
		if column > labelColumns && column+1+width > screenColumns {
			d.text.WriteString(strings.TrimRight(line, " ") + "\n")
			line, column = strings.Repeat(" ", labelColumns), labelColumns
		}
		if column > labelColumns {
			line, column = line+" ", column+1
		}
		line, column = line+word, column+width
	}
	d.text.WriteString(strings.TrimRight(line, " ") + "\n")
}

// render turns the marks of a word into codes, if there is colour, and says how many columns it takes.
func (d *statusScreen) render(word string) (text string, columns int) {
	var b strings.Builder
	for _, r := range word {
		code, mark := colourCodes[r]
		switch {
		case mark && d.colour:
			b.WriteString(code)
		case mark:
		case r == unbroken:
			b.WriteByte(' ')
			columns++
		default:
			b.WriteRune(r)
			columns++
		}
	}
	return b.String(), columns
}

// unbroken is a space at which no row is broken.
const unbroken = '\u00a0'

// megabytes is a size as people say it: 1 MB is 1e6 bytes.
func megabytes(bytes int64) string {
	switch mb := float64(bytes) / 1e6; {
	case mb >= 10_000:
		return fmt.Sprintf("%.0f\u00a0GB", mb/1000)
	case mb >= 1000:
		return fmt.Sprintf("%.1f\u00a0GB", mb/1000)
	case mb >= 10:
		return fmt.Sprintf("%.0f\u00a0MB", mb)
	default:
		return fmt.Sprintf("%.1f\u00a0MB", mb)
	}
}

// age is a duration in its two largest units.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// moment is a time to the minute.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }
