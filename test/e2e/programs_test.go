package e2e

import (
	"testing"

	"airgap/internal/program"
	"airgap/test/site"
)

// TestProgramsAgree holds that the desk's program, which the launcher starts for some verbs, and the whole one have the same
// flags and say the same of them: a flag that the build tag desk leaves out would be gone for users.
func TestProgramsAgree(t *testing.T) {
	verbs := [][]string{{"trust", "list"}, {"trust", "add"}, {"trust", "rotate"}, {"trust", "revoke"}, {"trust", "apply"}, {"cache", "prune"}}
	for _, verb := range program.DeskVerbs() {
		verbs = append(verbs, []string{verb})
	}
	for _, verb := range verbs {
		help := append(verb, "--help")
		desk := host(t, site.Built("build/root/bin/"+program.Desk), help...)
		if whole := host(t, site.Built("build/root/bin/"+program.Whole), help...); whole != desk {
			t.Errorf("airgap %s --help says\n%s\nin the desk's program, and in the whole one\n%s", verb, desk, whole)
		}
	}
	version := host(t, site.Built("build/root/bin/"+program.Whole), "version")
	if desk := host(t, site.Built("build/root/bin/"+program.Desk), "version"); desk != version {
		t.Errorf("the desk's program reports the versions\n%s\nand the whole one\n%s", desk, version)
	}
}
