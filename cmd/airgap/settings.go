package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The places that a setting of a node can come from; each beats those before it.
const (
	fromDefault     = "default"
	fromFile        = "file"
	fromEnvironment = "environment"
	fromFlag        = "flag"
)

// origin is where the value of a setting comes from.
type origin struct {
	kind  string // fromDefault …
	where string // "/etc/airgap/config.yaml:3", "AIRGAP_NODE_NAME", "--node-name"; empty for a default
}

// settings are a node's flags, and where each one's value comes from.
type settings struct {
	flags *pflag.FlagSet
	from  map[string]origin // by the flag's name; none: default
}

// newSettings begins with what has been given already: by the command line, which may have been parsed as a part of another set.
func newSettings(flags *pflag.FlagSet) *settings {
	s := &settings{flags: flags, from: map[string]origin{}}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			s.from[f.Name] = origin{fromFlag, "--" + f.Name}
		}
	})
	return s
}

// The prefixes of the environment's variables: ours, and that of those who come from K3s.
const (
	prefixAirgap = "AIRGAP_"
	prefixK3s    = "K3S_"
)

// k3sVariables are K3s' names for flags, without its prefix. Flags that it has no variable for have only ours.
var k3sVariables = map[string]string{
	"data-dir": "DATA_DIR", "node-name": "NODE_NAME", "resolv-conf": "RESOLV_CONF", "lb-server-port": "LB_SERVER_PORT", "debug": "DEBUG",
	"server": "URL", "token": "TOKEN", "token-file": "TOKEN_FILE", "agent-token": "AGENT_TOKEN", "agent-token-file": "AGENT_TOKEN_FILE",
	"write-kubeconfig": "KUBECONFIG_OUTPUT", "write-kubeconfig-mode": "KUBECONFIG_MODE", "selinux": "SELINUX",
	"datastore-endpoint": "DATASTORE_ENDPOINT", "datastore-cafile": "DATASTORE_CAFILE",
	"datastore-certfile": "DATASTORE_CERTFILE", "datastore-keyfile": "DATASTORE_KEYFILE",
}

// secretFlags are those whose values must be seen by nobody who can see the process's environment.
var secretFlags = []string{"token", "agent-token", flagEndpoint}

// variablesOf lists the variables that set a flag, the first that is set wins: AIRGAP_ and the flag's name in capitals,
// AIRGAP_ and K3s' name for it, and that with K3s' own prefix.
func variablesOf(flag string) []string {
	list := []string{prefixAirgap + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
	if name, ok := k3sVariables[flag]; ok {
		list = append(list, prefixAirgap+name, prefixK3s+name)
	}
	return slices.Compact(list)
}

// addEnvironment sets every flag that the environment has, the command line has not, and skip does not name. Values of
// a list have commas between them.
func (s *settings) addEnvironment(getenv func(string) (string, bool), skip ...string) error {
	var errs []error
	s.flags.VisitAll(func(flag *pflag.Flag) {
		if s.from[flag.Name].kind == fromFlag || slices.Contains(skip, flag.Name) {
			return
		}
		for _, variable := range variablesOf(flag.Name) {
			value, ok := getenv(variable)
			if !ok || value == "" {
				continue
			}
			if err := setValues(flag, []string{value}); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", variable, plainError(err, value)))
			}
			flag.Changed = true
			s.from[flag.Name] = origin{fromEnvironment, variable}
			return
		}
	})
	return errors.Join(errs...)
}

// setValues sets a flag to what somebody has written; a single value of a list may be several.
func setValues(flag *pflag.Flag, values []string) error {
	list, ok := flag.Value.(pflag.SliceValue)
	if !ok {
		return flag.Value.Set(strings.Join(values, ","))
	}
	if len(values) == 1 {
		values = strings.Split(values[0], ",")
	}
	return list.Replace(values)
}

// plainError is what a flag says of a value that it cannot take, without the function of Go that said it.
func plainError(err error, value string) error {
	if _, reason, found := strings.Cut(err.Error(), "parsing "); found {
		if _, reason, found = strings.Cut(reason, ": "); found {
			return fmt.Errorf("%q: %s", value, reason)
		}
	}
	return err
}

// settingName is the setting that an error of config's Complete begins with.
var settingName = regexp.MustCompile(`^[a-z][a-z0-9-]+`)

// locate says of each of the joined errors where the setting that it begins with was given.
func (s *settings) locate(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, s.locate(e))
		}
		return errors.Join(errs...)
	}
	if err == nil {
		return nil
	}
	if from := s.from[settingName.FindString(err.Error())]; from.kind == fromFile || from.kind == fromEnvironment {
		return fmt.Errorf("%s: %w", from.where, err)
	}
	return err
}
