package depcheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// module is the path of the module whose shape is held here.
const module = "airgap"

// pkg is what "go list -json" says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	Deps       []string // all that it links, sorted
	GoFiles    []string
}

// tree lists the packages of the module with what they link, as built for a node.
var tree = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Doc,Imports,Deps,GoFiles", module+"/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var list []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(p.GoFiles) > 0 { // the others are tests alone, or for other build tags
			list = append(list, p)
		}
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	return list, nil
})

func packages(t *testing.T) []pkg {
	t.Helper()
	list, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 10 {
		t.Fatalf("go list found %d packages only", len(list))
	}
	return list
}

// violations returns the imports of p that r forbids.
func (r rule) violations(p pkg) []string {
	if !match(r.packages, p.ImportPath) || matchAny(r.except, p.ImportPath) {
		return nil
	}
	imports := p.Deps
	if r.direct {
		imports = p.Imports
	}
	var bad []string
	for _, path := range imports {
		if matchAny(r.forbid, path) && !matchAny(r.allow, path) {
			bad = append(bad, path)
		}
	}
	return bad
}

func TestImportRules(t *testing.T) {
	list := packages(t)
	byPath := map[string]pkg{}
	for _, p := range list {
		byPath[p.ImportPath] = p
	}
	for _, r := range rules {
		applies := false
		for _, p := range list {
			applies = applies || match(r.packages, p.ImportPath)
			for _, bad := range r.violations(p) {
				t.Errorf("%s\n\tmust not depend on %s: %s", strings.Join(chain(byPath, p, bad), "\n\timports "), bad, r.reason)
			}
		}
		if !applies {
			t.Errorf("the rule for %s is for no package: correct or remove it", r.packages)
		}
	}
}

// chain is the way from p to an import, through packages of ours as far as they lead there.
func chain(byPath map[string]pkg, p pkg, target string) []string {
	way := []string{p.ImportPath}
	for {
		i := slices.IndexFunc(p.Imports, func(path string) bool {
			next, ours := byPath[path]
			return ours && slices.Contains(next.Deps, target)
		})
		if i < 0 || slices.Contains(p.Imports, target) {
			return append(way, target)
		}
		p = byPath[p.Imports[i]]
		way = append(way, p.ImportPath)
	}
}

// TestRulesCanFail shows that the rules bite: each of these must be refused.
func TestRulesCanFail(t *testing.T) {
	for _, test := range []struct{ from, to string }{
		{"airgap/internal/atomicfile", "airgap/signing"},
		{"airgap/signing", "airgap/bundle"},
		{"airgap/signing", "net/http"},
		{"airgap/airgap-images", "github.com/google/go-containerregistry/pkg/v1"},
		{"airgap/registry", "airgap/bundle"},
		{"airgap/bundle", "airgap/installer"},
		{"airgap/bundle", "helm.sh/helm/v3/pkg/action"},
		{"airgap/installer", "airgap/node"},
		{"airgap/installer", "airgap/node/agent"},
		{"airgap/addons", "airgap/node/controlplane"},
		{"airgap/node/config", "airgap/registry"},
		{"airgap/node/agent", "airgap/bundle"},
		{"airgap/registry", "k8s.io/kubernetes/pkg/kubelet"},
		{"airgap/cmd/airgap", "k8s.io/kubernetes/cmd/kubelet/app"},
		{"airgap/cmd/launcher", "net/http"},
		{"airgap/node/datastore", "github.com/k3s-io/kine/pkg/endpoint"},
	} {
		p := pkg{ImportPath: test.from, Imports: []string{test.to}, Deps: []string{test.to}}
		if !slices.ContainsFunc(rules, func(r rule) bool { return len(r.violations(p)) > 0 }) {
			t.Errorf("no rule keeps %s from importing %s", test.from, test.to)
		}
	}
	for _, test := range []struct{ from, to string }{
		{"airgap/installer", "airgap/node/config"},
		{"airgap/node/agent", "k8s.io/kubernetes/cmd/kubelet/app"},
		{"airgap/cmd/airgap", "airgap/node"},
		{"airgap/bundle/source", "helm.sh/helm/v3/pkg/action"},
	} {
		p := pkg{ImportPath: test.from, Imports: []string{test.to}, Deps: []string{test.to}}
		for _, r := range rules {
			if len(r.violations(p)) > 0 {
				t.Errorf("%s may import %s, but: %s", test.from, test.to, r.reason)
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		name := filepath.Base(p.ImportPath)
		want := "Package "
		if strings.HasPrefix(p.ImportPath, module+"/cmd/") {
			want = "Command " + name + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment should begin with %q, not %q", p.ImportPath, want, p.Doc)
		}
	}
}

func TestNoPackageIsNamedForNothing(t *testing.T) {
	for _, p := range packages(t) {
		switch name := filepath.Base(p.ImportPath); name {
		case "util", "utils", "common", "helper", "helpers", "misc", "shared", "lib", "pkg":
			t.Errorf("%s: a package is named for what it does", p.ImportPath)
		}
	}
}
