package bundle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	valid := validEncoded(t)
	decode := func() *Manifest {
		m, err := DecodeManifest([]byte(valid))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := decode().Validate(); err != nil {
		t.Fatalf("the manifest as it was made: %v", err)
	}
	blob := func(m *Manifest, role Role) *Entry {
		return &m.Entries[slices.IndexFunc(m.Entries, func(e Entry) bool { return e.Role == role })]
	}
	unknown := "sha256:" + strings.Repeat("0", 64)
	for name, edit := range map[string]func(m *Manifest){
		"other apiVersion":          func(m *Manifest) { m.APIVersion = "airgap/v2" },
		"other kind":                func(m *Manifest) { m.Kind = "Bundle" },
		"name empty":                func(m *Manifest) { m.Name = "" },
		"name with a slash":         func(m *Manifest) { m.Name = "a/b" },
		"name in upper case":        func(m *Manifest) { m.Name = "Site" },
		"name too long":             func(m *Manifest) { m.Name = strings.Repeat("a", 64) },
		"version with v":            func(m *Manifest) { m.Version = "v1.4.0" },
		"version of two parts":      func(m *Manifest) { m.Version = "1.4" },
		"floor above version":       func(m *Manifest) { m.VersionFloor = "1.4.1" },
		"minimumAirgap no version":  func(m *Manifest) { m.MinimumAirgap = "latest" },
		"no platforms":              func(m *Manifest) { m.Platforms = nil },
		"platform without slash":    func(m *Manifest) { m.Platforms = []string{"amd64"} },
		"platforms unsorted":        func(m *Manifest) { m.Platforms = []string{"linux/arm64", "linux/amd64"} },
		"platforms twice":           func(m *Manifest) { m.Platforms = []string{"linux/amd64", "linux/amd64"} },
		"issuedAt with zone":        func(m *Manifest) { m.IssuedAt = "2026-11-22T09:00:00+01:00" },
		"issuedAt with fraction":    func(m *Manifest) { m.IssuedAt = "2026-11-22T09:00:00.5Z" },
		"issuedAt before 1970":      func(m *Manifest) { m.IssuedAt = "1969-12-31T23:59:59Z" },
		"issuedAt beyond tar":       func(m *Manifest) { m.IssuedAt = "2300-01-01T00:00:00Z" },
		"image short reference":     func(m *Manifest) { m.Images[0].Reference = "nginx:1.29" },
		"image no tag":              func(m *Manifest) { m.Images[0].Reference = "docker.io/library/a" },
		"image tag and digest":      func(m *Manifest) { m.Images[0].Reference += "@" + m.Images[0].Digest },
		"image digest another":      func(m *Manifest) { m.Images[1].Reference = "docker.io/library/b@" + unknown },
		"images unsorted":           func(m *Manifest) { slices.Reverse(m.Images) },
		"image twice":               func(m *Manifest) { m.Images = append(m.Images[:1], m.Images...) },
		"image not carried":         func(m *Manifest) { m.Images[0].Digest = unknown },
		"image of another size":     func(m *Manifest) { m.Images[0].Size++ },
		"image media type":          func(m *Manifest) { m.Images[0].MediaType = "a b" },
		"image without platform":    func(m *Manifest) { m.Images[0].Platforms = nil },
		"image of another platform": func(m *Manifest) { m.Images[0].Platforms[0].Platform = "linux/arm64" },
		"image's platform missing":  func(m *Manifest) { m.Images[0].Platforms[0].Digest = unknown },
		"image is a layer": func(m *Manifest) {
			m.Images[0].Digest, m.Images[0].Size = blob(m, RoleLayer).Digest(), blob(m, RoleLayer).Size
		},
		"release with a slash":   func(m *Manifest) { m.Charts[0].Release = "a/b" },
		"release twice":          func(m *Manifest) { m.Charts = append(m.Charts, m.Charts[0]) },
		"namespace":              func(m *Manifest) { m.Charts[0].Namespace = "kube system" },
		"chart name with dots":   func(m *Manifest) { m.Charts[0].Chart = "../x" },
		"chart version":          func(m *Manifest) { m.Charts[0].Version = "new" },
		"chart missing":          func(m *Manifest) { m.Charts[0].Digest = unknown },
		"chart artifact missing": func(m *Manifest) { m.Charts[0].Artifact = "" },
		"chart is a layer":       func(m *Manifest) { m.Charts[0].Digest = blob(m, RoleLayer).Digest() },
		"values missing":         func(m *Manifest) { m.Charts[0].Values = unknown },
		"objects with a folder":  func(m *Manifest) { m.Manifests[0].Name = "../x" },
		"objects hidden":         func(m *Manifest) { m.Manifests[0].Name = ".x" },
		"objects twice but for case": func(m *Manifest) {
			other := m.Manifests[0]
			other.Name = strings.ToUpper(other.Name)
			m.Manifests = append(m.Manifests, other)
		},
		"objects missing":       func(m *Manifest) { m.Manifests[0].Digest = unknown },
		"file relative":         func(m *Manifest) { m.Files[0].Target = "etc/site.conf" },
		"file not clean":        func(m *Manifest) { m.Files[0].Target = "/etc/../etc/site.conf" },
		"file is the root":      func(m *Manifest) { m.Files[0].Target = "/" },
		"file with a newline":   func(m *Manifest) { m.Files[0].Target = "/etc/a\nb" },
		"file twice":            func(m *Manifest) { m.Files = append(m.Files, m.Files[0]) },
		"file is setuid":        func(m *Manifest) { m.Files[0].Mode = "4755" },
		"file mode of 3 digits": func(m *Manifest) { m.Files[0].Mode = "644" },
		"file missing":          func(m *Manifest) { m.Files[0].Digest = unknown },
		"file within a file": func(m *Manifest) {
			within := m.Files[0]
			within.Target += "/x/y"
			m.Files = append(m.Files, within)
		},
		"distribution twice":             func(m *Manifest) { m.Distributions = append(m.Distributions, m.Distributions[0]) },
		"distribution for another":       func(m *Manifest) { m.Distributions[0].Platform = "linux/arm64" },
		"distribution of another size":   func(m *Manifest) { m.Distributions[0].Size++ },
		"distribution version":           func(m *Manifest) { m.Distributions[0].Version = "dev" },
		"distribution kubernetes":        func(m *Manifest) { m.Distributions[0].Kubernetes = "1.37.1" },
		"distribution missing":           func(m *Manifest) { m.Distributions[0].Digest = unknown },
		"no entries":                     func(m *Manifest) { m.Entries = nil },
		"no oci-layout":                  func(m *Manifest) { m.Entries = m.Entries[1:] },
		"another oci-layout":             func(m *Manifest) { m.Entries[0].SHA256 = unknown[7:] },
		"index.json too large":           func(m *Manifest) { m.Entries[1].Size = MaxMetadataBytes + 1 },
		"index.json of another role":     func(m *Manifest) { m.Entries[1].Role = RoleIndex },
		"index.json without a digest":    func(m *Manifest) { m.Entries[1].SHA256 = "x" },
		"entry twice":                    func(m *Manifest) { m.Entries = append(m.Entries, m.Entries[len(m.Entries)-1]) },
		"entries out of order":           func(m *Manifest) { slices.Reverse(m.Entries[2:]) },
		"entry outside blobs":            func(m *Manifest) { blob(m, RoleLayer).Path = "../evil" },
		"entry in upper case":            func(m *Manifest) { blob(m, RoleLayer).Path = strings.ToUpper(blob(m, RoleLayer).Path) },
		"entry under another digest":     func(m *Manifest) { blob(m, RoleLayer).SHA256 = unknown[7:] },
		"entry without a role":           func(m *Manifest) { blob(m, RoleLayer).Role = "" },
		"entry of an unknown role":       func(m *Manifest) { blob(m, RoleLayer).Role = "rootfs" },
		"blob as layout":                 func(m *Manifest) { m.Entries[2].Role = RoleLayout },
		"negative size":                  func(m *Manifest) { blob(m, RoleLayer).Size = -1 },
		"sizes that overflow when added": func(m *Manifest) { blob(m, RoleLayer).Size = 1 << 62 },
		"config too large":               func(m *Manifest) { blob(m, RoleConfig).Size = MaxMetadataBytes + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			m := decode()
			edit(m)
			if err := m.Validate(); !errors.Is(err, ErrFormat) {
				t.Errorf("error %v, want ErrFormat", err)
			}
		})
	}

	m := decode()
	m.Name, m.Version, m.Files[0].Mode = "", "", ""
	if err := m.Validate(); strings.Count(fmt.Sprint(err), "; ") != 2 {
		t.Errorf("three problems, but the error is %v", err)
	}
}
