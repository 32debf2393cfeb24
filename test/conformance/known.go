package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// knownFailures are the causes of the specs that are known to fail, by name.
type knownFailures map[string]cause

// cause says why a spec fails.
type cause struct {
	Text  string `json:"cause"`
	Issue string `json:"issue,omitempty"` // where it is worked on; none if nothing is to be done
}

// readKnown reads known.yaml.
func readKnown(file string) (knownFailures, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Spec string `json:"spec"`
		cause
	}
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	known := knownFailures{}
	for _, entry := range list {
		if entry.Spec == "" || entry.Text == "" {
			return nil, fmt.Errorf("%s: every entry needs a spec and a cause: %+v", file, entry)
		}
		if _, twice := known[entry.Spec]; twice {
			return nil, fmt.Errorf("%s: %q is there twice", file, entry.Spec)
		}
		known[entry.Spec] = entry.cause
	}
	return known, nil
}
