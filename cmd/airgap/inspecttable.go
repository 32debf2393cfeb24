package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"airgap/bundle"
	"airgap/internal/progress"
)

// printInspection is the report for a person: who made what, then what there is of each kind, images from the largest.
func (e *env) printInspection(report inspectReport) error {
	m, p := report.Manifest, &printer{w: e.stdout}
	if !report.Verified {
		p.line("UNVERIFIED: no --key was given, so nothing below is proven")
	}
	p.line("%s %s, issued %s, for %s", m.Name, m.Version, m.IssuedAt, strings.Join(m.Platforms, ", "))
	p.line("%s in %d entries: %s", progress.Bytes(report.Bytes), len(m.Carried()), parts(m))
	p.lines(deltaLine(m))
	switch {
	case report.Verified:
		p.line("signed by key ID %s", strings.Join(report.Signers, ", "))
	case report.Signatures > 0:
		p.line("signatures: %d, by whom was not checked", report.Signatures)
	default:
		p.line("signed by nobody")
	}
	for _, a := range m.Attestations {
		p.line("attested: %s", a.PredicateType)
	}
	if m.VersionFloor != "" {
		p.line("no return below %s", m.VersionFloor)
	}
	if m.MinimumAirgap != "" {
		p.line("needs airgap %s", m.MinimumAirgap)
	}
	for _, d := range m.Distributions {
		p.line("distribution  %s: airgap %s, Kubernetes %s, %s", d.Platform, d.Version, d.Kubernetes, progress.Bytes(d.Size))
	}
	for _, c := range m.Charts {
		p.line("chart         %s/%s: %s %s", c.Namespace, c.Release, c.Chart, c.Version)
	}
	for _, o := range m.Manifests {
		p.line("manifest      %s", o.Name)
	}
	for _, f := range m.Files {
		p.line("file          %s %s", f.Mode, f.Target)
	}
	for _, r := range m.Referrers {
		p.line("signature     %s", r.Reference)
	}
	if p.err != nil || len(m.Images) == 0 {
		return p.err
	}
	return imageTable(e.stdout, m, report.ImageSizes)
}

// parts says what the bytes of a bundle are: "images 1.1 GB, distribution 73 MB, the rest 12 kB".
func parts(m *bundle.Manifest) string {
	var images, distribution, rest int64
	for _, entry := range m.Carried() {
		switch entry.Role {
		case bundle.RoleLayer:
			images += entry.Size
		case bundle.RoleExecutable:
			distribution += entry.Size
		default:
			rest += entry.Size
		}
	}
	var said []string
	for _, part := range []struct {
		what  string
		bytes int64
	}{{"layers", images}, {"distribution", distribution}, {"the rest", rest}} {
		if part.bytes > 0 {
			said = append(said, part.what+" "+progress.Bytes(part.bytes))
		}
	}
	return strings.Join(said, ", ")
}

// imageTable lists the images from the largest, and what they have in common.
func imageTable(w io.Writer, m *bundle.Manifest, sizes []bundle.ImageSize) error {
	type row struct {
		image bundle.Image
		size  bundle.ImageSize
	}
	var rows []row
	var apart, together int64
	counted := map[string]bool{} // several names of one image are one
	for i, image := range m.Images {
		rows = append(rows, row{image, sizes[i]})
		if !counted[image.Digest] {
			apart += sizes[i].Bytes
			counted[image.Digest] = true
		}
	}
	for _, entry := range m.Entries {
		if entry.Role == bundle.RoleLayer {
			together += entry.Size
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(b.size.Bytes, a.size.Bytes) })
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tSIZE\tSHARED\tLAYERS\tDIGEST")
	for _, r := range rows {
		size, shared, layers := progress.Bytes(r.size.Bytes), "", fmt.Sprint(r.size.Layers)
		switch {
		case r.size.Unknown:
			size, layers = "in the base", ""
		case r.size.SharedBytes > 0:
			shared = progress.Bytes(r.size.SharedBytes)
		}
		mark := ""
		if r.image.System {
			mark = "  (system)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s%s\n", r.image.Reference, size, shared, layers, r.image.Digest, mark)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if saved := apart - together; slices.ContainsFunc(sizes, func(s bundle.ImageSize) bool { return s.SharedBytes > 0 }) && saved > 0 {
		_, err := fmt.Fprintf(w, "\nLayers that images share are there once: each by itself, they would take %s.\n", progress.Bytes(apart))
		return err
	}
	return nil
}
