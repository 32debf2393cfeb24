package main

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"airgap/bundle/source"
)

// TestStarterShowsEverything uncomments every example of the starter: it is right, and nothing that an airgap.yaml can say is
// left out but what only the system's own bundle says.
func TestStarterShowsEverything(t *testing.T) {
	text := strings.NewReplacer("NAME", "site-a", "PLATFORM", "linux/amd64").Replace(starter)
	if _, err := source.Parse("airgap.yaml", []byte(text)); err != nil {
		t.Errorf("as it is: %v", err)
	}
	// An example is a comment that is indented as YAML; a sentence starts with a capital or with a backquote.
	example := regexp.MustCompile(`(?m)^( +)# ( *(?:- |[a-zA-Z]+: ?).*)$`)
	whole := example.ReplaceAllString(text, "$1$2")
	spec, err := source.Parse("airgap.yaml", []byte(whole))
	if err != nil {
		t.Fatalf("with its examples: %v\n%s", err, whole)
	}
	ours := map[string]bool{"System": true, "Distributions": true}
	contents := reflect.ValueOf(spec.Spec)
	for i := range contents.NumField() {
		if name := contents.Type().Field(i).Name; !ours[name] && contents.Field(i).IsZero() {
			t.Errorf("no example of spec.%s", contents.Type().Field(i).Tag.Get("yaml"))
		}
	}
}

func TestBundleName(t *testing.T) {
	for folder, want := range map[string]string{
		"site-a": "site-a", "Site A": "site-a", "_x.y_": "x-y", "/": "site", strings.Repeat("a", 70): strings.Repeat("a", 63),
	} {
		if got := bundleName(folder); got != want {
			t.Errorf("bundleName(%q) = %q, want %q", folder, got, want)
		}
	}
}
