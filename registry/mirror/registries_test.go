package mirror

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/registry/distribution"
)

// example is the example of K3s' documentation, and more of what it describes.
const example = `
mirrors:
  docker.io:
    endpoint:
      - "https://registry.site:5000"
      - http://10.0.0.9/proxy/docker
    rewrite:
      "^library/(.*)": "mirrored/$1"
      "(.*)": "other/$1"
  registry.k8s.io:
  "*":
    endpoint: [any.site]
configs:
  "registry.site:5000":
    auth: {username: reader, password: secret}
    tls: {insecure_skip_verify: true}
  any.site:
    auth: {auth: cmVhZGVyOnNlY3JldDp3aXRoLWNvbG9u}
  registry-1.docker.io:
    auth: {identity_token: token}
`

func TestParseExample(t *testing.T) {
	r, err := Parse("registries.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		route   distribution.Route
		options Options
		want    []string
	}{
		{"mirrors, then the registry", distribution.Route{Registry: "docker.io", Name: "library/nginx"}, Options{},
			[]string{"https://registry.site:5000/v2/mirrored/nginx", "http://10.0.0.9/proxy/docker/mirrored/nginx", "https://registry-1.docker.io/v2/library/nginx"}},
		{"the first rewrite that matches", distribution.Route{Registry: "docker.io", Name: "team/app"}, Options{DisableDefaultEndpoint: true},
			[]string{"https://registry.site:5000/v2/other/team/app", "http://10.0.0.9/proxy/docker/other/team/app"}},
		{"an entry without endpoints is one all the same", distribution.Route{Registry: "registry.k8s.io", Name: "pause"}, Options{DisableDefaultEndpoint: true}, nil},
		{"the wildcard", distribution.Route{Registry: "quay.io", Name: "team/app"}, Options{},
			[]string{"https://any.site/v2/team/app", "https://quay.io/v2/team/app"}},
		{"a registry on this machine", distribution.Route{Registry: "localhost:5000", Name: "app"}, Options{},
			[]string{"https://any.site/v2/app", "http://localhost:5000/v2/app"}},
		{"system images exist nowhere", distribution.Route{Registry: "airgap.internal", Name: "pause"}, Options{SystemHost: "airgap.internal"},
			[]string{"https://any.site/v2/pause"}},
		{"but in the system registry", distribution.Route{Registry: "airgap.internal", Name: "pause"},
			Options{SystemHost: "airgap.internal", SystemRegistry: "registry.site:5000/system"},
			[]string{"https://any.site/v2/pause", "https://registry.site:5000/v2/system/pause"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, e := range New(distribution.Content{}, func() *Registries { return r }, test.options).endpoints(test.route) {
				got = append(got, e.root.String()+"/"+e.name)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
	if a := r.accessFor("registry.site:5000"); a.auth == nil || *a.auth != (credentials{"reader", "secret"}) || a.tls == nil || !a.tls.InsecureSkipVerify {
		t.Errorf("registry.site:5000: %+v", a)
	}
	if a := r.accessFor("any.site"); a.auth == nil || *a.auth != (credentials{"reader", "secret:with-colon"}) {
		t.Errorf("any.site: %+v", a.auth)
	}
	if a := r.accessFor("registry-1.docker.io", "docker.io"); a.auth == nil || *a.auth != (credentials{"", "token"}) {
		t.Errorf("docker.io: %+v", a.auth)
	}
	if a := r.accessFor("unknown.site"); a.auth != nil || a.tls != nil {
		t.Errorf("unknown.site: %+v", a)
	}
}

func TestParseReportsEveryMistake(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"nothing":         {"", nil},
		"comments":        {"# none\n", nil},
		"null":            {"mirrors:\nconfigs:\n", nil},
		"no YAML":         {"mirrors: [", []string{"registries.yaml"}},
		"two documents":   {"mirrors:\n---\nmirrors:\n", []string{"one document"}},
		"a list":          {"- mirrors\n", []string{"registries.yaml:1: the file: want a mapping"}},
		"unknown key":     {"mirors:\n  docker.io:\n", []string{`unknown key "mirors"`, "configs, mirrors"}},
		"unknown in deep": {"mirrors:\n  docker.io:\n    endpoints: [https://a]\n", []string{`registries.yaml:3: unknown key "endpoints"`, "endpoint, rewrite"}},
		"twice":           {"mirrors:\n  docker.io:\n  docker.io:\n", []string{`registries.yaml:3: "docker.io" is there twice`}},
		"not a list":      {"mirrors:\n  docker.io:\n    endpoint: https://a\n", []string{"registries.yaml:3: endpoint: want a list"}},
		"scheme":          {"mirrors:\n  a.io:\n    endpoint: [\"ftp://a\"]\n", []string{"want http:// or https://"}},
		"credentials":     {"mirrors:\n  a.io:\n    endpoint: [\"https://u:p@a\"]\n", []string{"belong under configs"}},
		"no host":         {"mirrors:\n  a.io:\n    endpoint: [\"https:///v2\"]\n", []string{"names no host"}},
		"pattern":         {"mirrors:\n  a.io:\n    rewrite: {\"(\": x}\n", []string{"registries.yaml:3: rewrite"}},
		"auth":            {"configs:\n  a.io:\n    auth: {auth: \"%%\"}\n", []string{"registries.yaml:3: auth: want the base64"}},
		"no user":         {"configs:\n  a.io:\n    auth: {password: x}\n", []string{"needs a username"}},
		"half a pair":     {"configs:\n  a.io:\n    tls: {cert_file: /x}\n", []string{"belong together"}},
		"no CA":           {"configs:\n  a.io:\n    tls: {ca_file: /does/not/exist}\n", []string{"registries.yaml:3: ca_file", "no such file"}},
		"skip":            {"configs:\n  a.io:\n    tls: {insecure_skip_verify: maybe}\n", []string{"want true or false"}},
		"two mistakes":    {"mirrors:\n  a.io: {x: 1}\n  b.io: {y: 1}\n", []string{"registries.yaml:2", "registries.yaml:3"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("registries.yaml", []byte(test.text))
			if (err != nil) != (len(test.want) > 0) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registries.yaml")
	if _, err := Open(path, true, nil); err == nil {
		t.Error("a file that was asked for is not there, and that is no error")
	}
	var reported []error
	f, err := Open(path, false, func(err error) { reported = append(reported, err) })
	if err != nil {
		t.Fatalf("a default file that is not there: %v", err)
	}
	for _, step := range []struct {
		text     string // empty: remove the file
		mirrors  int
		mistakes int
	}{
		{"mirrors: {a.io: {}}", 1, 0},
		{"mirrors: {a.io: {}, b.io: {}}", 2, 0},
		{"mirrors: [", 2, 1},
		{"", 0, 1},
		{example, 3, 1},
	} {
		if step.text == "" {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, []byte(step.text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second reading finds no change
			if got := len(f.Registries().mirrors); got != step.mirrors || len(reported) != step.mistakes {
				t.Errorf("%q: %d mirrors, want %d; reported %v", step.text, got, step.mirrors, reported)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("a: &a\n  b: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse("registries.yaml", data)
		if err == nil {
			New(distribution.Content{}, func() *Registries { return r }, Options{}).endpoints(distribution.Route{Registry: "docker.io", Name: "library/nginx"})
		}
	})
}
