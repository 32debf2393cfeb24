package bundle

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"airgap/signing"
)

// The corpus of testdata/hostile: bundles that must be refused, each with the reason. The tables hostile…Cases make them, from keys that
// are published there; `go test ./bundle -run TestHostileCorpus -update` writes them. They are files so that the
// readers of cmd/airgap, of test/interop and of anybody else are tried with the same bytes.

var update = flag.Bool("update", false, "write testdata/hostile anew")

const (
	hostileFolder = "testdata/hostile"
	leastHostile  = 150
)

// hostile is a bundle that must be refused.
type hostile struct {
	class, name string
	make        func(h *hostileMaker) []byte
	want        error
	rule        Rule
	text        string // part of what the refusal says
}

// hostileRecord is one line of testdata/hostile/cases.json.
type hostileRecord struct {
	File   string `json:"file"`   // gzipped
	Kind   string `json:"kind"`   // the error: "malformed bundle", "digest mismatch", …
	Rule   Rule   `json:"rule"`   // the rule of docs/format.md
	Entry  string `json:"entry"`  // what is refused, if it has a path
	Offset int64  `json:"offset"` // byte of the bundle; -1 for what is in no one place
}

func hostileCases() []hostile {
	return slices.Concat(hostileTars(), hostileHeaders(), hostileSignatures(), hostileJSON(), hostileManifests(), hostileEntries(), hostileIndexes(), hostileGraphs(), hostileReferrers())
}

// hostileMaker has what the cases are made from: two bundles that are good, of one image and of everything, and the keys.
type hostileMaker struct {
	t               testing.TB
	maker, stranger *signing.PrivateKey
	tiny, whole     []byte
}

func newHostileMaker(t testing.TB) *hostileMaker {
	t.Helper()
	h := &hostileMaker{t: t, maker: publishedKey(t, "maker"), stranger: publishedKey(t, "stranger")}
	opts := CreateOptions{Signers: []*signing.PrivateKey{h.maker}}
	h.tiny, h.whole = mustRead(t, create(t, tinyContent(t), opts)), mustRead(t, create(t, testContent(t, 10), opts))
	return h
}

// publishedKey is a key of the corpus, with an empty password. It is made if there is none and -update is given.
func publishedKey(t testing.TB, name string) *signing.PrivateKey {
	t.Helper()
	path := filepath.Join(hostileFolder, name+".key")
	if _, err := os.Stat(path); err != nil && *update {
		private, public, err := signing.GenerateKey(nil)
		if err == nil {
			err = errors.Join(os.WriteFile(path, private, 0o644), os.WriteFile(strings.TrimSuffix(path, ".key")+".pub", public, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := signing.ParsePrivateKey(mustRead(t, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// trust accepts the corpus' maker.
func (h *hostileMaker) trust() Trust {
	return &remembered{Trust: signing.Policy{Keys: []signing.PublicKey{h.maker.Public()}, Threshold: 1}}
}

// tar edits the entries of the tiny bundle.
func (h *hostileMaker) tar(edit func(p []part, end []byte) ([]part, []byte)) []byte {
	parts, end := split(h.t, bytes.Clone(h.tiny))
	return join(edit(parts, end))
}

// signed lays data as the manifest of a bundle, signed, before the entries of that bundle.
func (h *hostileMaker) signed(of, data []byte) []byte {
	h.t.Helper()
	parts, end := split(h.t, of)
	_, _, mtime, err := decodeHeader(&parts[0].header)
	if err != nil {
		h.t.Fatal(err)
	}
	sig, err := h.maker.Sign(data)
	if err != nil {
		h.t.Fatal(err)
	}
	sigstorePath, detachedPath := signaturePaths(0)
	parts[0], parts[1], parts[2] = newPart(ManifestPath, data, mtime), newPart(sigstorePath, sig.Sigstore, mtime), newPart(detachedPath, sig.Detached, mtime)
	return join(parts, end)
}

// newPart is an entry of a tar as this format has it.
func newPart(name string, data []byte, mtime int64) part {
	return part{encodeHeader(name, int64(len(data)), mtime), append(bytes.Clone(data), make([]byte, paddedSize(int64(len(data)))-int64(len(data)))...)}
}

// manifestOf is the manifest of a bundle that is good.
func (h *hostileMaker) manifestOf(data []byte) *Manifest {
	h.t.Helper()
	r, err := NewReader(bytes.NewReader(data), h.trust())
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Manifest()
}

// stated lays and signs the bundle of everything with a manifest that says something else.
func (h *hostileMaker) stated(edit func(m *Manifest)) []byte {
	h.t.Helper()
	m := h.manifestOf(h.whole)
	edit(m)
	data, err := m.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.signed(h.whole, data)
}

func TestHostileCorpus(t *testing.T) {
	h := newHostileMaker(t)
	cases, trust := hostileCases(), h.trust()
	if len(cases) < leastHostile {
		t.Errorf("%d cases, want %d", len(cases), leastHostile)
	}
	if *update {
		writeHostile(t, h, cases)
	}
	var records []hostileRecord
	if err := json.Unmarshal(mustRead(t, filepath.Join(hostileFolder, "cases.json")), &records); err != nil {
		t.Fatal(err)
	}
	if len(records) != len(cases) {
		t.Fatalf("%d cases are recorded, %d are made: run with -update", len(records), len(cases))
	}
	if err := errors.Join(verifyTar(h.tiny, trust), verifyTar(h.whole, trust)); err != nil {
		t.Fatalf("what the cases are made from: %v", err)
	}
	for i, c := range cases {
		t.Run(c.class+"/"+c.name, func(t *testing.T) {
			data := unpacked(t, filepath.Join(hostileFolder, records[i].File))
			if !bytes.Equal(data, c.make(h)) {
				t.Error("the file is not what the case makes: run with -update")
			}
			err := verifyTar(data, trust)
			checkHostile(t, c, records[i], err)
			if all := verifyWatched(watch(data), trust); err != nil && (all == nil || all.Error() != err.Error()) {
				t.Errorf("in order %v\non all cores %v", err, all)
			}
		})
	}
}

// checkHostile holds a refusal against what the case wants and what the record says.
func checkHostile(t *testing.T, c hostile, record hostileRecord, err error) {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("%v: want a refusal", err)
	}
	if !errors.Is(err, c.want) || refusal.Rule != c.rule || !strings.Contains(err.Error(), c.text) {
		t.Errorf("refused by rule %s: %v\nwant %s, %v, with %q", refusal.Rule, err, c.rule, c.want, c.text)
	}
	if got := recordOf(c, refusal); got != record {
		t.Errorf("refused as %+v\nrecorded is  %+v", got, record)
	}
}

func recordOf(c hostile, refusal *Refusal) hostileRecord {
	return hostileRecord{c.class + "-" + fileName(c.name) + ".airgap.gz", c.want.Error(), refusal.Rule, refusal.Entry, refusal.Offset}
}

// fileName makes words a part of a file's name.
func fileName(words string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(words), "-"), "-")
}

// writeHostile writes the corpus. What another program refuses is not asked: the records are those of this reader.
func writeHostile(t *testing.T, h *hostileMaker, cases []hostile) {
	t.Helper()
	old, err := filepath.Glob(filepath.Join(hostileFolder, "*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	var records bytes.Buffer
	for i, c := range cases {
		data := c.make(h)
		var refusal *Refusal
		if err := verifyTar(data, h.trust()); !errors.As(err, &refusal) {
			t.Fatalf("%s: %v: want a refusal", c.name, err)
		}
		record := recordOf(c, refusal)
		records.WriteString(map[bool]string{true: "[\n", false: ",\n"}[i == 0])
		records.Write(mustJSON(t, record))
		path := filepath.Join(hostileFolder, record.File)
		if _, err := os.Stat(path); err == nil {
			t.Fatalf("two cases are called %s", record.File)
		}
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		w.Close()
		if err := os.WriteFile(path, packed.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	records.WriteString("\n]\n")
	if err := os.WriteFile(filepath.Join(hostileFolder, "cases.json"), records.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func unpacked(t testing.TB, path string) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(mustRead(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
