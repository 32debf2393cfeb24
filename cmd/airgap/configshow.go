package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"airgap/node/config"
)

const outputYAML = "yaml"

// hiddenValue stands for a secret.
const hiddenValue = "(not shown)"

// setting is one setting as it is shown.
type setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`           // string, bool, int or []string
	Source string `json:"source"`          // fromDefault …
	Where  string `json:"where,omitempty"` // file:line, variable or flag
}

// configDocument is what `airgap config show --output json` prints.
type configDocument struct {
	APIVersion string    `json:"apiVersion"` // airgap/v1
	Kind       string    `json:"kind"`       // Configuration
	Role       string    `json:"role"`
	File       string    `json:"file"`
	Settings   []setting `json:"settings"` // sorted by key
}

// document is the whole configuration, without secrets.
func (n *nodeConfig) document() configDocument {
	d := configDocument{APIVersion: "airgap/v1", Kind: "Configuration", Role: n.role, File: n.path(), Settings: []setting{}}
	n.flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "embedded-registry" {
			return
		}
		from := n.from[flag.Name]
		if from.kind == "" {
			from.kind = fromDefault
		}
		d.Settings = append(d.Settings, setting{Key: flag.Name, Value: n.shown(flag), Source: from.kind, Where: from.where})
	})
	slices.SortFunc(d.Settings, func(a, b setting) int { return strings.Compare(a.Key, b.Key) })
	return d
}

// shown is the value of a flag as everybody may see it.
func (n *nodeConfig) shown(flag *pflag.Flag) any {
	text := flag.Value.String()
	switch {
	case text == "":
		return text
	case flag.Name == flagEndpoint:
		store, _ := config.ParseDatastore(text, config.DatastoreFiles{})
		for _, password := range []string{store.Password(), url.QueryEscape(store.Password()), url.PathEscape(store.Password())} {
			if password != "" {
				text = strings.ReplaceAll(text, password, "xxxxx")
			}
		}
		return text
	case slices.Contains(secretFlags, flag.Name):
		return hiddenValue
	}
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		values := []string{}
		for _, value := range list.GetSlice() {
			values = append(values, withoutSecret(value))
		}
		return values
	}
	switch flag.Value.Type() {
	case "bool":
		return text == "true"
	case "int":
		number, err := strconv.Atoi(text)
		if err == nil {
			return number
		}
	}
	return text
}

// withoutSecret hides the value of an argument for a component, "flag=value", whose name says that it is a secret.
func withoutSecret(argument string) string {
	name, _, found := strings.Cut(argument, "=")
	if found && !strings.HasSuffix(name, "-file") && (strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.Contains(name, "token")) {
		return name + "=" + hiddenValue
	}
	return argument
}

// print prints the configuration as a configuration file whose comments tell where each value comes from.
func (n *nodeConfig) print(w io.Writer) error {
	p := &printer{w: w}
	d := n.document()
	p.line("# Settings of the airgap %s with the data folder %s. File: %s", d.Role, n.dataDir, d.File)
	for _, s := range d.Settings {
		text, err := flowYAML(s.Value)
		if err != nil {
			return err
		}
		source := s.Source
		if s.Where != "" {
			source = s.Where
		}
		p.line("%-60s # %s", fmt.Sprintf("%s: %s", s.Key, text), source)
	}
	return p.err
}

// flowYAML is a value on one line.
func flowYAML(value any) (string, error) {
	if _, list := value.([]string); list {
		text, err := json.Marshal(value) // YAML's flow style
		return string(text), err
	}
	text, err := yaml.Marshal(value)
	return strings.TrimSpace(string(text)), err
}
