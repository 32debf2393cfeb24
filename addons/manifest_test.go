package addons

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestSplitDocuments(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		want    []string // documents, trimmed
		lines   []int
	}{
		"empty":                     {"", nil, nil},
		"one":                       {"a: 1\n", []string{"a: 1"}, []int{1}},
		"no newline at the end":     {"a: 1\n---\nb: 2", []string{"a: 1", "b: 2"}, []int{1, 2}},
		"comment behind the marker": {"a: 1\n--- # next\nb: 2\n", []string{"a: 1", "# next\nb: 2"}, []int{1, 2}},
		"content behind the marker": {"--- {a: 1}\n--- {b: 2}\n", []string{"{a: 1}", "{b: 2}"}, []int{1, 2}},
		"end marker":                {"a: 1\n...\n---\nb: 2\n...\n", []string{"a: 1", "b: 2"}, []int{1, 3}},
		"only comments":             {"# a\n---\n\n# b\n---\n", nil, nil},
		"directive":                 {"%YAML 1.1\n---\na: 1\n", []string{"a: 1"}, []int{2}},
		"byte order mark":           {"\xef\xbb\xbfa: 1\n", []string{"a: 1"}, []int{1}},
		"carriage returns":          {"a: 1\r\n---\r\nb: 2\r\n", []string{"a: 1", "b: 2"}, []int{1, 2}},
		"longer than a marker":      {"a: |\n  ---\n----\n", []string{"a: |\n  ---\n----"}, []int{1}},
		"indented marker":           {"a: |\n  ---\n  b\n", []string{"a: |\n  ---\n  b"}, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			var lines []int
			for _, d := range splitDocuments([]byte(test.content)) {
				got = append(got, string(bytes.TrimSpace(d.text)))
				lines = append(lines, d.line)
			}
			if !slices.Equal(got, test.want) || !slices.Equal(lines, test.lines) {
				t.Errorf("got %q at lines %v, want %q at %v", got, lines, test.want, test.lines)
			}
		})
	}
}

// No document may be lost, and none may hold a marker that is another's.
func FuzzParseManifest(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n--- # b\napiVersion: v1\nkind: List\nitems: []\n",
		"%YAML 1.1\n---\na: |\n  ---\n...\n",
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`,
		"---\n---x\n--- \t\n\xef\xbb\xbf---\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var got []byte
		line := 0
		for _, d := range splitDocuments(content) {
			if d.line <= line {
				t.Fatalf("document at line %d after one at line %d", d.line, line)
			}
			line = d.line
			for i, l := range bytes.SplitAfter(d.text, []byte("\n")) {
				if i > 0 && (isMarker(l, "---") || isMarker(l, "...")) {
					t.Fatalf("marker within a document: %q", d.text)
				}
			}
			got = append(got, d.text...)
		}
		for l := range bytes.Lines(content) {
			l = bytes.TrimPrefix(l, []byte("\xef\xbb\xbf"))
			if word := bytes.TrimSpace(l); len(word) > 0 && word[0] != '#' && word[0] != '%' &&
				!isMarker(l, "---") && !isMarker(l, "...") && !bytes.Contains(got, word) {
				t.Fatalf("line %q is in no document", l)
			}
		}
		objects, err := parseManifest(content)
		if err != nil {
			return
		}
		for _, o := range objects {
			if o.GetName() == "" || o.GetKind() == "" || o.GetAPIVersion() == "" {
				t.Fatalf("incomplete object: %v", o)
			}
		}
	})
}

func TestParseManifestOrdersAndTakesListsApart(t *testing.T) {
	objects, err := parseManifest([]byte(`
apiVersion: v1
kind: List
items:
- {apiVersion: example.org/v1, kind: Site, metadata: {name: one}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: two, namespace: a}, data: {n: "1"}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sites.example.org}
--- # last, and first of all
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		got = append(got, referenceTo(o).String())
	}
	want := []string{"Namespace a", "CustomResourceDefinition.apiextensions.k8s.io sites.example.org", "Site.example.org one", "ConfigMap a/two"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestParseManifestNamesWhatIsBad(t *testing.T) {
	const good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for name, test := range map[string]struct {
		content string
		want    []string
	}{
		"no YAML":        {good + "---\na: [\n", []string{"document at line 4"}},
		"every document": {"a: [\n---\nb: ]\n", []string{"document at line 1", "document at line 2"}},
		"duplicate key":  {good + "kind: Secret\n", []string{"line 1", `"kind" already set`}},
		"no kind":        {"apiVersion: v1\nmetadata: {name: a}\n", []string{"line 1", "Kind"}},
		"no apiVersion":  {"kind: ConfigMap\nmetadata: {name: a}\n", []string{"without apiVersion"}},
		"no name":        {"apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", []string{"Pod without metadata.name"}},
		"a scalar":       {"hello\n", []string{"line 1"}},
		"twice":          {good + "---\n" + good, []string{"ConfigMap a is there twice"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseManifest([]byte(test.content))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}
