package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"airgap/test/site"
)

var update = flag.Bool("update", false, "write docs/cis.md anew from testdata/cis.yaml")

// control is one control of the CIS benchmark, or the heading of some.
type control struct {
	Section string `json:"section"`

	ID      string `json:"id"`
	Title   string `json:"title"`
	Check   string `json:"check"`   // see cisNode.holds
	Result  string `json:"result"`  // what the check must say: PASS (also if empty) or WARN
	Profile string `json:"profile"` // the same with --profile cis, if it is another
	Why     string `json:"why"`
}

func (c control) want(profile bool) string {
	if profile && c.Profile != "" {
		return c.Profile
	}
	if c.Result == "" {
		return "PASS"
	}
	return c.Result
}

func controls(t *testing.T) []control {
	t.Helper()
	data, err := os.ReadFile("testdata/cis.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []control
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 120 {
		t.Fatalf("%d controls only", len(list))
	}
	return list
}

// testCIS asks a running node for every control, and wants what the table says: a PASS that is
// none is a hole, and a WARN that is none a table that says less than we do.
func testCIS(t *testing.T, s *node, profile bool) {
	node := newCISNode(t, s)
	asked := map[string]error{}
	for _, c := range controls(t) {
		if c.ID == "" || c.Check == "manual" {
			continue
		}
		err, known := asked[c.Check]
		if !known {
			err = node.holds(c.Check)
			asked[c.Check] = err
		}
		got := "PASS"
		if err != nil {
			got = "WARN"
		}
		if want := c.want(profile); got != want {
			t.Errorf("%s %s: %s, want %s: %v", c.ID, c.Title, got, want, err)
		}
	}
}

const cisHeader = `# The CIS Kubernetes benchmark, control by control

Every line was asked of a running node by ` + "`make test`" + ` (test/e2e/cis_test.go), once as it comes and once with
` + "`--profile cis`" + `; the table is written from test/e2e/testdata/cis.yaml, which is what the test wants. The numbers are those of
kube-bench's cis-1.12. PASS is what the node was seen to do; WARN is a control that it does not meet, or that only people can judge, with the
reason. kube-bench itself cannot look at airgap: it reads the command lines of processes that are parts of one here.

How a node is asked: *flag*: the API server's ` + "`/flagz`" + `, which shows the scheduler's and the controller manager's too; *kubelet*: its
` + "`configz`" + `; *mode* and *owner*: the files under the data folder (` + "`RUN`" + ` is the folder under /run); *anonymous*: a request without
credentials; *closed* and *loopback*: who answers on a port; *tls*: handshakes with weak versions and ciphers; *cannot*: the authorizer;
*pod*: a pod that must be refused; *encrypted*, *certificates*: airgap's own verbs; *audit*: the log, searched for a secret that was just written.
`

// render is docs/cis.md.
func render(list []control) []byte {
	var out bytes.Buffer
	out.WriteString(cisHeader)
	counts := map[bool]map[string]int{false: {}, true: {}}
	for _, c := range list {
		if c.ID == "" {
			fmt.Fprintf(&out, "\n## %s\n\n| | Control | Default | `cis` | Asked by | |\n|---|---|---|---|---|---|\n", c.Section)
			continue
		}
		for _, profile := range []bool{false, true} {
			counts[profile][c.want(profile)]++
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", c.ID, c.Title, c.want(false), c.want(true),
			"`"+strings.ReplaceAll(c.Check, "|", `\|`)+"`", c.Why)
	}
	fmt.Fprintf(&out, "\nDefault: %d PASS, %d WARN. With the profile: %d PASS, %d WARN.\n",
		counts[false]["PASS"], counts[false]["WARN"], counts[true]["PASS"], counts[true]["WARN"])
	return out.Bytes()
}

func TestCISTableIsCurrent(t *testing.T) {
	list := controls(t)
	for _, c := range list {
		if c.ID != "" && (c.want(false) == "WARN" || c.want(true) == "WARN") && c.Why == "" {
			t.Errorf("%s is a WARN that nothing explains", c.ID)
		}
	}
	file := site.Built("docs/cis.md")
	if *update {
		if err := os.WriteFile(file, render(list), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	current, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(current, render(list)) {
		t.Errorf("%s is not what testdata/cis.yaml says: go test ./test/e2e -run CISTable -update", file)
	}
}
