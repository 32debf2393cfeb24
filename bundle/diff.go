package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Described is a bundle as far as it can be compared without its layers.
type Described struct {
	Manifest *Manifest
	Metadata map[string][]byte // indexes, manifests and configs by digest; of a delta those that are carried
}

// Describe reads the metadata of a bundle from r, from which nothing has been read yet. Layers are not read.
func Describe(r *Reader) (Described, error) {
	d := Described{r.Manifest(), make(map[string][]byte)}
	for range r.ordered {
		e, contents, err := r.Next()
		if err != nil {
			return d, err
		}
		if d.Metadata[e.Digest()], err = io.ReadAll(contents); err != nil {
			return d, err
		}
	}
	return d, nil
}

// Difference is one thing that is not the same in two bundles.
type Difference struct {
	What string   `json:"what"`           // "image docker.io/library/nginx:1.29"
	From string   `json:"from,omitempty"` // a digest, or what the manifest says; empty: it was not there
	To   string   `json:"to,omitempty"`
	Why  []string `json:"why,omitempty"` // what below it makes the difference
}

// Comparison is what [Compare] finds.
type Comparison struct {
	Same        bool         `json:"same"` // airgap.json is, and with it every byte but the signatures
	Differences []Difference `json:"differences"`
	Removed     []Entry      `json:"removed"` // blobs that the first alone has
	Added       []Entry      `json:"added"`   // blobs that the second alone has
	Shared      int          `json:"shared"`  // blobs that both have
	SharedBytes int64        `json:"sharedBytes"`
}

// Compare explains how b differs from a, down to the blobs.
func Compare(a, b Described) Comparison {
	c := Comparison{Differences: []Difference{}, Removed: []Entry{}, Added: []Entry{}}
	c.Same = reflect.DeepEqual(a.Manifest, b.Manifest)
	c.fields(a.Manifest, b.Manifest)
	images := func(m *Manifest) map[string]Image {
		return keyed(m.Images, func(i Image) string { return "image " + i.Reference })
	}
	compareKeyed(&c, images(a.Manifest), images(b.Manifest), func(i Image) string { return i.Digest }, func(x, y Image) []string { return explainImage(a, b, x, y) })
	c.things(a.Manifest, b.Manifest)
	c.blobs(a.Manifest.Entries, b.Manifest.Entries)
	return c
}

// fields compares what is said once.
func (c *Comparison) fields(a, b *Manifest) {
	for _, f := range []struct{ what, a, b string }{
		{"name", a.Name, b.Name}, {"version", a.Version, b.Version}, {"version floor", a.VersionFloor, b.VersionFloor},
		{"issue time", a.IssuedAt, b.IssuedAt}, {"least airgap", a.MinimumAirgap, b.MinimumAirgap},
		{"platforms", strings.Join(a.Platforms, ", "), strings.Join(b.Platforms, ", ")}, {"base", bases(a), bases(b)},
	} {
		if f.a != f.b {
			c.Differences = append(c.Differences, Difference{What: f.what, From: f.a, To: f.b})
		}
	}
}

func bases(m *Manifest) string {
	var names []string
	for _, b := range m.Base {
		names = append(names, b.Name+" "+b.Version+" "+b.Digest)
	}
	return strings.Join(names, ", ")
}

// things compares what is neither said once nor an image.
func (c *Comparison) things(a, b *Manifest) {
	charts := func(m *Manifest) map[string]Chart {
		return keyed(m.Charts, func(x Chart) string { return "chart release " + x.Release })
	}
	compareKeyed(c, charts(a), charts(b), func(x Chart) string { return x.Namespace + " " + x.Digest + " " + x.Values }, func(x, y Chart) []string {
		return slices.DeleteFunc([]string{
			changed("version", x.Version, y.Version), changed("chart", x.Digest, y.Digest),
			changed("values", x.Values, y.Values), changed("namespace", x.Namespace, y.Namespace),
		}, func(s string) bool { return s == "" })
	})
	referrers := func(m *Manifest) map[string]Referrer {
		return keyed(m.Referrers, func(x Referrer) string { return "signature " + x.Reference })
	}
	compareKeyed(c, referrers(a), referrers(b), func(x Referrer) string { return x.Digest }, nil)
	objects := func(m *Manifest) map[string]Objects {
		return keyed(m.Manifests, func(x Objects) string { return "manifest " + x.Name })
	}
	compareKeyed(c, objects(a), objects(b), func(x Objects) string { return x.Digest }, nil)
	files := func(m *Manifest) map[string]File {
		return keyed(m.Files, func(x File) string { return "file " + x.Target })
	}
	compareKeyed(c, files(a), files(b), func(x File) string { return x.Mode + " " + x.Digest }, nil)
	distributions := func(m *Manifest) map[string]Distribution {
		return keyed(m.Distributions, func(x Distribution) string { return "distribution for " + x.Platform })
	}
	compareKeyed(c, distributions(a), distributions(b), func(x Distribution) string { return x.Version + " " + x.Digest }, nil)
	statements := func(m *Manifest) map[string]Attestation {
		return keyed(m.Attestations, func(x Attestation) string { return "statement " + x.PredicateType })
	}
	compareKeyed(c, statements(a), statements(b), func(x Attestation) string { return x.Digest }, nil)
}

// blobs compares what the bundles are made of, with what deltas leave out.
func (c *Comparison) blobs(a, b []Entry) {
	inA := make(map[string]bool, len(a))
	for _, e := range a {
		inA[e.SHA256] = true
	}
	inB := make(map[string]bool, len(b))
	for _, e := range b {
		if inB[e.SHA256] = true; !inA[e.SHA256] {
			c.Added = append(c.Added, e)
		}
	}
	for _, e := range a {
		if !inB[e.SHA256] {
			c.Removed = append(c.Removed, e)
			continue
		}
		c.Shared, c.SharedBytes = c.Shared+1, c.SharedBytes+e.Size
	}
}

func keyed[T any](list []T, key func(T) string) map[string]T {
	m := make(map[string]T, len(list))
	for _, x := range list {
		m[key(x)] = x
	}
	return m
}

// compareKeyed adds what is not the same in both maps. is says what a thing is, why, which may be nil, what makes two differ.
func compareKeyed[T any](c *Comparison, a, b map[string]T, is func(T) string, why func(x, y T) []string) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, what := range slices.Sorted(maps.Keys(all)) {
		x, inA := a[what]
		y, inB := b[what]
		d := Difference{What: what}
		if inA {
			d.From = is(x)
		}
		if inB {
			d.To = is(y)
		}
		if d.From == d.To {
			continue
		}
		if inA && inB && why != nil {
			d.Why = why(x, y)
		}
		c.Differences = append(c.Differences, d)
	}
}

// changed says that something is another now; "" if it is not.
func changed(what, from, to string) string {
	if from == to {
		return ""
	}
	return fmt.Sprintf("%s: %s → %s", what, orNone(from), orNone(to))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// explainImage says why an image has another digest.
func explainImage(a, b Described, x, y Image) []string {
	var why []string
	was := keyed(x.Platforms, func(p ImagePlatform) string { return p.Platform })
	for _, p := range y.Platforms {
		before, ok := was[p.Platform]
		delete(was, p.Platform)
		switch {
		case !ok:
			why = append(why, p.Platform+" is new")
		case before.Digest != p.Digest:
			for _, reason := range explainManifest(a, b, before.Digest, p.Digest) {
				why = append(why, p.Platform+": "+reason)
			}
		}
	}
	for _, platform := range slices.Sorted(maps.Keys(was)) {
		why = append(why, platform+" is gone")
	}
	if len(why) == 0 {
		why = []string{"its index alone is another: the platforms that are carried are the same"}
	}
	return why
}

// explainManifest says why the image of a platform is another: its layers, and what its config says.
func explainManifest(a, b Described, from, to string) []string {
	var x, y ocispec.Manifest
	if json.Unmarshal(a.Metadata[from], &x) != nil || json.Unmarshal(b.Metadata[to], &y) != nil {
		return []string{"its manifest is not carried by one of them"}
	}
	var why []string
	same := 0
	for same < min(len(x.Layers), len(y.Layers)) && x.Layers[same].Digest == y.Layers[same].Digest {
		same++
	}
	if same < max(len(x.Layers), len(y.Layers)) {
		why = append(why, fmt.Sprintf("the first %d of %d layers stayed the same, now there are %d", same, len(x.Layers), len(y.Layers)))
		steps := layerSteps(b.Metadata[y.Config.Digest.String()])
		for i, l := range y.Layers[same:] {
			line := fmt.Sprintf("layer %d is %s, %d bytes", same+i+1, l.Digest, l.Size)
			if same+i < len(steps) && steps[same+i] != "" {
				line += ", by " + steps[same+i]
			}
			why = append(why, line)
		}
	}
	if x.Config.Digest != y.Config.Digest {
		why = append(why, explainConfig(a.Metadata[x.Config.Digest.String()], b.Metadata[y.Config.Digest.String()])...)
	}
	if len(why) == 0 {
		why = []string{"layers and config are the same: only its manifest is written in another way"}
	}
	return why
}

// layerSteps are the commands that made the layers, as the config's history has them.
func layerSteps(config []byte) []string {
	const most = 100
	var image ocispec.Image
	if json.Unmarshal(config, &image) != nil {
		return nil
	}
	var steps []string
	for _, h := range image.History {
		if !h.EmptyLayer {
			steps = append(steps, fmt.Sprintf("%.*q", most, h.CreatedBy))
		}
	}
	return steps
}

// explainConfig names the fields of two image configs that differ, but for those that follow from the layers.
func explainConfig(from, to []byte) []string {
	var x, y map[string]any
	if json.Unmarshal(from, &x) != nil || json.Unmarshal(to, &y) != nil {
		return []string{"its config is not carried by one of them"}
	}
	var names []string
	differing("", x, y, &names)
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "rootfs") || strings.HasPrefix(n, "history") })
	if len(names) == 0 {
		return nil
	}
	return []string{"its config differs in " + strings.Join(names, ", ")}
}

// differing adds the paths of the values that are not the same in two JSON objects, "config.Env".
func differing(under string, x, y map[string]any, names *[]string) {
	all := maps.Clone(x)
	maps.Copy(all, y)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		inX, isX := x[key].(map[string]any)
		inY, isY := y[key].(map[string]any)
		switch {
		case isX && isY:
			differing(under+key+".", inX, inY, names)
		case !reflect.DeepEqual(x[key], y[key]):
			*names = append(*names, under+key)
		}
	}
}
