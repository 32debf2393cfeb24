package source

import "testing"

func TestNormalize(t *testing.T) {
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for text, want := range map[string]string{
		"nginx":                               "docker.io/library/nginx:latest",
		"nginx:1.29":                          "docker.io/library/nginx:1.29",
		"grafana/loki:3":                      "docker.io/grafana/loki:3",
		"docker.io/nginx":                     "docker.io/library/nginx:latest",
		"index.docker.io/library/nginx":       "docker.io/library/nginx:latest",
		"localhost:5000/app":                  "localhost:5000/app:latest",
		"registry.example/a/b:v1":             "registry.example/a/b:v1",
		"nginx@" + digest:                     "docker.io/library/nginx@" + digest,
		"registry.example/a:1@" + digest:      "registry.example/a@" + digest,
		"UPPER":                               "",
		"":                                    "",
		"nginx:":                              "",
		"https://registry.example/a":          "",
		"registry.example/a@sha256:cafe":      "",
		"registry.example/a:1@sha512:" + "ab": "",
	} {
		got, err := Normalize(text)
		if err != nil {
			got = Reference{}
			if want != "" {
				t.Errorf("Normalize(%q): %v", text, err)
			}
			continue
		}
		if got.String() != want {
			t.Errorf("Normalize(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSplitSource(t *testing.T) {
	for text, want := range map[string][3]string{
		"nginx:1.29":                         {registrySource, "nginx:1.29", ""},
		"docker://quay.io/a/b:1":             {registrySource, "quay.io/a/b:1", ""},
		"localhost:5000/a":                   {registrySource, "localhost:5000/a", ""},
		"oci:./out/app":                      {layoutSource, "./out/app", ""},
		"oci:./out/app:latest":               {layoutSource, "./out/app", "latest"},
		"oci-archive:a.tar:registry.io/a:1":  {layoutArchiveSource, "a.tar", "registry.io/a:1"},
		"docker-archive:/tmp/a.tar.gz:app:1": {dockerArchiveSource, "/tmp/a.tar.gz", "app:1"},
	} {
		kind, path, selector := splitSource(text)
		if got := [3]string{kind, path, selector}; got != want {
			t.Errorf("splitSource(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	for text, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/arm64/v8": "linux/arm64", "linux/arm64": "linux/arm64",
		"linux/arm/v7": "linux/arm/v7", "linux/arm": "linux/arm/v7", "linux/x86_64": "linux/amd64",
		"amd64": "", "linux/": "", "": "",
	} {
		got, err := parsePlatform(text)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("parsePlatform(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}
