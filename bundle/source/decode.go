package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"airgap/internal/spelling"
)

// maxSpecBytes bounds an airgap.yaml: nobody writes more by hand.
const maxSpecBytes = 4 << 20

// Load reads an airgap.yaml and checks all that can be checked without looking at
// anything else. A file that is not right gives an [*Error].
func Load(path string) (*Spec, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSpecBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSpecBytes {
		return nil, asError(path, []problem{{1, fmt.Sprintf("larger than %d MiB", maxSpecBytes>>20)}})
	}
	return Parse(path, data)
}

// Parse is [Load] of bytes already read; path is where they are from.
func Parse(path string, data []byte) (*Spec, error) {
	spec := &Spec{path: path, lines: map[string]int{}}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, asError(path, []problem{{1, "the file is empty"}})
	case err != nil:
		return nil, asError(path, []problem{syntaxProblem(err)})
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, asError(path, []problem{syntaxProblem(err)})
		}
		return nil, asError(path, []problem{{second.Line, "a second document; an airgap.yaml is one"}})
	}
	d := &strictDecoder{lines: spec.lines}
	d.decode(document.Content[0], reflect.ValueOf(spec).Elem(), "")
	if len(d.problems) == 0 {
		d.problems = spec.check()
	}
	if err := asError(path, d.problems); err != nil {
		return nil, err
	}
	return spec, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxProblem takes the line out of the YAML parser's message.
func syntaxProblem(err error) problem {
	p := problem{1, err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		p.text = "not YAML: " + m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			p.line = n
		}
	}
	return p
}

// strictDecoder fills structs from YAML nodes. Unlike the YAML package it wants every key to be
// known, takes no number for a string, and knows the line of each complaint.
type strictDecoder struct {
	lines    map[string]int
	problems []problem
}

func (d *strictDecoder) complain(node *yaml.Node, format string, args ...any) {
	d.problems = append(d.problems, problem{node.Line, fmt.Sprintf(format, args...)})
}

// decode fills into from node, whose path is where ("spec.charts[1].name").
func (d *strictDecoder) decode(node *yaml.Node, into reflect.Value, where string) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	d.lines[where] = node.Line
	switch into.Kind() {
	case reflect.Struct:
		if text, ok := into.Addr().Interface().(interface{ fromString(string) }); ok && node.Kind == yaml.ScalarNode {
			var s string
			d.decode(node, reflect.ValueOf(&s).Elem(), where)
			text.fromString(s)
			return
		}
		d.decodeStruct(node, into, where)
	case reflect.Slice:
		if node.Kind != yaml.SequenceNode {
			d.complain(node, "%s must be a list, not %s", where, describe(node))
			return
		}
		into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
		for i, item := range node.Content {
			d.decode(item, into.Index(i), fmt.Sprintf("%s[%d]", where, i))
		}
	case reflect.String:
		switch {
		case node.Kind != yaml.ScalarNode || node.Tag == "!!null":
			d.complain(node, "%s must be a string, not %s", where, describe(node))
		case node.Tag != "!!str":
			d.complain(node, "%s must be a string: write it in quotes, %q", where, node.Value)
		case strings.TrimSpace(node.Value) == "":
			d.complain(node, "%s is empty", where)
		default:
			into.SetString(node.Value)
		}
	case reflect.Bool:
		if node.Kind != yaml.ScalarNode || node.Tag != "!!bool" {
			d.complain(node, "%s must be true or false, not %s", where, describe(node))
			return
		}
		into.SetBool(strings.EqualFold(node.Value, "true"))
	default:
		panic("source: no decoding for " + into.Type().String())
	}
}

// decodeStruct fills a struct from a mapping.
func (d *strictDecoder) decodeStruct(node *yaml.Node, into reflect.Value, where string) {
	if node.Kind != yaml.MappingNode {
		d.complain(node, "%s must be a mapping, not %s", titleOf(where), describe(node))
		return
	}
	fields, keys := map[string]int{}, []string{}
	for i := range into.NumField() {
		if key := into.Type().Field(i).Tag.Get("yaml"); key != "" {
			fields[key] = i
			keys = append(keys, key)
		}
	}
	seen := map[string]bool{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		index, known := fields[key.Value]
		switch {
		case !known:
			text := fmt.Sprintf("unknown key %q in %s", key.Value, titleOf(where))
			if near := nearest(key.Value, keys); near != "" {
				text += fmt.Sprintf("; did you mean %q?", near)
			} else {
				text += "; it has " + strings.Join(keys, ", ")
			}
			d.complain(key, "%s", text)
			continue
		case seen[key.Value]:
			d.complain(key, "key %q is there twice in %s", key.Value, titleOf(where))
			continue
		}
		seen[key.Value] = true
		d.decode(value, into.Field(index), strings.TrimPrefix(where+"."+key.Value, "."))
	}
	for _, key := range keys {
		if into.Type().Field(fields[key]).Tag.Get("need") == "true" && !seen[key] {
			d.complain(node, "%s needs %q", titleOf(where), key)
		}
	}
}

// titleOf is the path of a node in a message; the document itself has none.
func titleOf(where string) string {
	if where == "" {
		return "the document"
	}
	return where
}

// describe says what a node is in a word.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if node.Tag == "!!null" {
		return "nothing"
	}
	return strconv.Quote(node.Value)
}

// nearest is the word that a misspelt one most likely meant, or "".
func nearest(word string, words []string) string {
	best, least := "", len(word)/3+1
	for _, candidate := range words {
		if n := spelling.Distance(strings.ToLower(word), strings.ToLower(candidate)); n <= least {
			best, least = candidate, n-1
		}
	}
	return best
}
