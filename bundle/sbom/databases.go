package sbom

import (
	"bytes"
	"strings"
)

// debianPackages reads dpkg's status file: paragraphs of "Field: value", of which those that are installed count.
// Source: deb-control(5), dpkg(1).
func debianPackages(data []byte) []Package {
	var found []Package
	for paragraph := range bytes.SplitSeq(data, []byte("\n\n")) {
		fields := colonFields(paragraph, ": ")
		status := strings.Fields(fields["Status"])
		installed := len(status) == 0 || status[len(status)-1] == "installed" // status.d leaves the field out
		if fields["Package"] == "" || fields["Version"] == "" || !installed {
			continue
		}
		source, _, _ := strings.Cut(fields["Source"], " ") // "openssl (3.0.1-1)"
		found = append(found, Package{Kind: Debian, Name: fields["Package"], Version: fields["Version"], Arch: fields["Architecture"], Origin: source})
	}
	return found
}

// alpinePackages reads apk's database: paragraphs of "P:name". Source: apk-v2(5).
func alpinePackages(data []byte) []Package {
	var found []Package
	for paragraph := range bytes.SplitSeq(data, []byte("\n\n")) {
		fields := colonFields(paragraph, ":")
		if fields["P"] == "" || fields["V"] == "" {
			continue
		}
		found = append(found, Package{Kind: Alpine, Name: fields["P"], Version: fields["V"], Arch: fields["A"], Origin: fields["o"]})
	}
	return found
}

// colonFields reads the lines of a paragraph; those that go on from the line before are left out.
func colonFields(paragraph []byte, separator string) map[string]string {
	fields := map[string]string{}
	for line := range bytes.SplitSeq(paragraph, []byte("\n")) {
		name, value, found := strings.Cut(string(line), separator)
		if _, there := fields[name]; found && !there && !strings.HasPrefix(name, " ") {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

// osRelease reads the distribution's name. Source: os-release(5).
func osRelease(data []byte) System {
	var s System
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		name, value, _ := strings.Cut(string(line), "=")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch name {
		case "ID":
			s.ID = value
		case "VERSION_ID":
			s.Version = value
		}
	}
	return s
}
