package depcheck

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// maxLines is the length of a Go file above which it must be divided.
const maxLines = 800

// sources calls visit with every Go file of the module, tests included; path is relative to
// the module's root.
func sources(t *testing.T, visit func(path string, content []byte)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && (rel == "bin" || rel == "build" || rel == "dist" || rel == ".git" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(rel), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoFileIsTooLong(t *testing.T) {
	sources(t, func(path string, content []byte) {
		if lines := bytes.Count(content, []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines, at most %d are allowed: divide it", path, lines, maxLines)
		}
	})
}

// commandsOnly are the functions that only a command may call, by the import path of their package.
var commandsOnly = map[string]struct {
	names  []string // empty: the package must not be imported at all
	reason string
}{
	"os": {
		[]string{"Exit", "Getenv", "LookupEnv", "Setenv", "Unsetenv", "ExpandEnv", "Args", "Stdin", "Stdout", "Stderr"},
		"a library gets what it needs as arguments, so that a test can hand it in",
	},
	"log":                    {[]string{"Fatal", "Fatalf", "Fatalln"}, "it ends the process"},
	"flag":                   {nil, "flags are read in cmd"},
	"github.com/spf13/cobra": {nil, "flags are read in cmd"},
}

func TestOnlyCommandsTouchTheProcess(t *testing.T) {
	sources(t, func(path string, content []byte) {
		if strings.HasPrefix(path, "cmd/") || strings.HasPrefix(path, "test/") || strings.HasPrefix(path, "airgap-images/coredns/") ||
			strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, problem := range processUses(t, path, content) {
			t.Error(problem)
		}
	})
}

// processUses finds what commandsOnly forbids in one file.
func processUses(t *testing.T, path string, content []byte) (problems []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, content, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return nil
	}
	say := func(at token.Pos, what, reason string) {
		problems = append(problems, files.Position(at).String()+": "+what+" belongs in cmd: "+reason)
	}
	local := map[string]string{} // name in the file -> import path
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		only, listed := commandsOnly[imported]
		if !listed {
			continue
		}
		name := filepath.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		local[name] = imported
		if len(only.names) == 0 {
			say(spec.Pos(), "import of "+imported, only.reason)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		only := commandsOnly[local[of.Name]]
		for _, name := range only.names {
			if selector.Sel.Name == name {
				say(selector.Pos(), local[of.Name]+"."+name, only.reason)
			}
		}
		return true
	})
	return problems
}

func TestProcessUsesAreFound(t *testing.T) {
	const source = `package p
import (
	"flag"
	"os"
)
var home = os.Getenv("HOME")
func f() { os.Exit(1) }
var ok, _ = os.Open("x")
`
	if got := processUses(t, "p.go", []byte(source)); len(got) != 3 {
		t.Errorf("found %d of 3 uses:\n%s", len(got), strings.Join(got, "\n"))
	}
}
