package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"airgap/internal/spelling"
	"airgap/node/config"
)

// applyConfigFile sets every flag of fset that the YAML file names and the command line does not, see addFile.
func applyConfigFile(fset *pflag.FlagSet, path string, must bool) error {
	return newSettings(fset).addFile(path, must)
}

// configFile is the configuration file that was given, or else that of the node with a data folder.
func configFile(given, dataDir string) string {
	if given != "" {
		return given
	}
	return config.PathsOf(dataDir).ConfigFile()
}

// configFiles lists a configuration file and those that add to it, <path>.d/*.yaml in order.
func configFiles(path string) ([]string, error) {
	drops, err := filepath.Glob(path + ".d/*.yaml")
	if err != nil {
		return nil, err
	}
	sort.Strings(drops)
	return append([]string{path}, drops...), nil
}

// addFile sets every flag that the YAML file names, unless the command line or the environment does. Keys are flag
// names without dashes in front; a key ending in "+" appends to what was given. <path>.d/*.yaml follow in order. A
// missing file is no error unless must is set. The error is every mistake in every file, with its line.
func (s *settings) addFile(path string, must bool) error {
	files, err := configFiles(path)
	if err != nil {
		return err
	}
	var errs []error
	for i, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && i == 0 && !must {
			continue
		}
		if err != nil {
			return fmt.Errorf("configuration file: %w", err)
		}
		errs = append(errs, s.addYAML(file, data))
	}
	return errors.Join(errs...)
}

// addYAML is addFile for what one file holds.
func (s *settings) addYAML(file string, data []byte) error {
	var doc, another yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return yamlError(file, err)
	}
	if err := decoder.Decode(&another); err == nil {
		return fmt.Errorf("%s:%d: a second document begins here; a configuration is one", file, another.Line)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: want a mapping of flag names to values", file, top.Line)
	}
	lines := map[string]int{}
	var errs []error
	add := func(line int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: %w", file, line, fmt.Errorf(format, args...)))
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		name, appends := strings.CutSuffix(key.Value, "+")
		flag := s.flags.Lookup(name)
		switch line := lines[key.Value]; {
		case flag == nil || name == "config" || flag.Hidden:
			add(key.Line, "unknown key %q%s", key.Value, s.meant(name))
			continue
		case line > 0:
			add(key.Line, "%s: given before, on line %d", key.Value, line)
			continue
		case value.Tag == "!!null":
			add(key.Line, "%s: has no value; write one, or remove the line", key.Value)
			continue
		}
		lines[key.Value] = key.Line
		if from := s.from[name].kind; (from == fromFlag || from == fromEnvironment) && !appends {
			continue
		}
		if err := setNode(flag, value, appends); err != nil {
			add(value.Line, "%s: %w", key.Value, plainError(err, value.Value))
			continue
		}
		flag.Changed = true
		s.from[name] = origin{fromFile, fmt.Sprintf("%s:%d", file, value.Line)}
	}
	return errors.Join(errs...)
}

// yamlError is an error of the YAML parser, "yaml: line 3: …", in the form of all others.
func yamlError(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, found := strings.CutPrefix(text, "line "); found {
		if line, problem, found := strings.Cut(rest, ": "); found {
			return fmt.Errorf("%s:%s: no YAML: %s", file, line, problem)
		}
	}
	return fmt.Errorf("%s: no YAML: %s", file, text)
}

// setNode sets a flag to a value of the file.
func setNode(flag *pflag.Flag, value *yaml.Node, appends bool) error {
	var values []string
	switch value.Kind {
	case yaml.ScalarNode:
		values = []string{value.Value}
	case yaml.SequenceNode:
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return errors.New("want a list of plain values")
			}
			values = append(values, item.Value)
		}
	default:
		return errors.New("want a value or a list of values")
	}
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		if appends {
			values = slices.Concat(list.GetSlice(), values)
		}
		return list.Replace(values)
	}
	return flag.Value.Set(strings.Join(values, ","))
}

// k3sKeys are K3s' settings that this version has no counterpart of.
var k3sKeys = []string{
	"cluster-init", "cluster-reset", "cluster-reset-restore-path", "container-runtime-endpoint", "default-runtime", "disable-apiserver-lb", "disable-cloud-controller",
	"disable-kube-proxy", "docker", "egress-selector-mode", "enable-spegel", "helm-job-image", "image-service-endpoint", "kube-cloud-controller-manager-arg",
	"log", "multi-cluster-cidr", "prefer-bundled-bin", "rootless", "selinux", "servicelb-namespace", "supervisor-metrics", "vpn-auth", "with-node-id",
	"write-kubeconfig-group",
}

// maxTypos is how many letters a key may be away from the one that was likely meant.
const maxTypos = 3

// meant says what somebody who wrote an unknown key may have meant.
func (s *settings) meant(key string) string {
	if slices.Contains(k3sKeys, key) {
		return ", which K3s has and this version of airgap has not"
	}
	if name := strings.ReplaceAll(strings.ToLower(key), "_", "-"); name != key && s.flags.Lookup(name) != nil {
		return fmt.Sprintf("; did you mean %q?", name)
	}
	best, distance := "", min(maxTypos, len(key)/2)+1
	s.flags.VisitAll(func(f *pflag.Flag) {
		if d := spelling.Distance(key, f.Name); d < distance && !f.Hidden && f.Name != "config" {
			best, distance = f.Name, d
		}
	})
	if best == "" {
		return fmt.Sprintf("; keys are the flags of `airgap %s --help`", verbOf(s.flags))
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// verbOf is the verb whose help lists the flags of a node's configuration.
func verbOf(fset *pflag.FlagSet) string {
	if fset.Name() == "agent" {
		return "agent"
	}
	return "server"
}
