package source

import (
	"fmt"
	"strings"
)

// DriftError says that a build would not give what its lock describes.
type DriftError struct{ Differences []string }

func (e *DriftError) Error() string {
	return "airgap.lock describes another bundle:\n" + strings.Join(e.Differences, "\n")
}

// drift lists what differs between a lock and that of what was gathered now. With no difference the bundle is the
// same to the byte.
func drift(locked, now *Lock) []string {
	var all []string
	for _, list := range []struct {
		what        string
		locked, now []Locked
	}{{"bundle", locked.From, now.From}, {"image", locked.Images, now.Images}, {"signature", locked.Referrers, now.Referrers}, {"chart", locked.Charts, now.Charts}} {
		all = append(all, listDrift(list.what, list.locked, list.now)...)
	}
	switch {
	case len(all) == 0 && locked.Content != now.Content:
		all = append(all, "something else that airgap.yaml says or names, or a flag: a name, a version, a platform, values, manifests or files")
	case len(all) == 0 && locked.IssuedAt != now.IssuedAt:
		all = append(all, fmt.Sprintf("the issue time is %s, locked is %s", now.IssuedAt, locked.IssuedAt))
	}
	return all
}

func listDrift(what string, locked, now []Locked) []string {
	var all []string
	for _, n := range now {
		switch was := find(locked, n.Source); was {
		case n.Digest:
		case "":
			all = append(all, fmt.Sprintf("%s %s is new: %s", what, n.Source, n.Digest))
		default:
			all = append(all, fmt.Sprintf("%s %s is %s, locked is %s", what, n.Source, n.Digest, was))
		}
	}
	for _, l := range locked {
		if find(now, l.Source) == "" {
			all = append(all, fmt.Sprintf("%s %s is locked and no longer wanted", what, l.Source))
		}
	}
	return all
}
