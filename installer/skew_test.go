package installer

import "testing"

func TestSkew(t *testing.T) {
	for _, test := range []struct {
		name    string
		found   []Finding
		refused bool
	}{
		{"the same", judgeSkew("v1.37.1+airgap1", "v1.37.1+airgap1"), false},
		{"a patch up", judgeSkew("v1.37.1", "v1.37.4"), false},
		{"a minor up", judgeSkew("v1.37.1", "v1.38.0"), false},
		{"a minor skipped", judgeSkew("v1.37.1", "v1.39.0"), true},
		{"a minor down", judgeSkew("v1.37.1", "v1.36.9"), true},
		{"not a version", judgeSkew("unknown", "v1.36.9"), false},
		{"agent as its server", judgeAgent("v1.37.4", "v1.37.1"), false},
		{"agent behind its server", judgeAgent("v1.36.0", "v1.37.1"), false},
		{"agent before its server", judgeAgent("v1.38.0", "v1.37.1"), true},
		{"server three before a node", judgeServer("v1.38.0", "n", "v1.35.0"), false},
		{"server four before a node", judgeServer("v1.38.0", "n", "v1.34.0"), true},
	} {
		if refused := len(test.found) > 0; refused != test.refused {
			t.Errorf("%s: findings %v", test.name, test.found)
		}
	}
}
