package bundle

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"airgap/signing"
)

// hostileSignatures take away, exchange and forge what vouches for the manifest.
func hostileSignatures() []hostile {
	var cases []hostile
	add := func(name string, want error, rule Rule, text string, edit func(h *hostileMaker, p []part) []part) {
		cases = append(cases, hostile{"signature", name, func(h *hostileMaker) []byte {
			return h.tar(func(p []part, end []byte) ([]part, []byte) { return edit(h, p), end })
		}, want, rule, text})
	}
	// signed gives each part of a signature to change before it is laid into the bundle.
	signed := func(name, text string, by func(h *hostileMaker) *signing.PrivateKey, message func(m []byte) []byte, edit func(s *signing.Signature)) {
		want := signing.ErrInvalid
		if text == "unknown key" {
			want = signing.ErrUntrusted
		}
		add(name, want, RuleSignature, text, func(h *hostileMaker, p []part) []part {
			_, size, mtime, err := decodeHeader(&p[manifestAt].header)
			if err != nil {
				h.t.Fatal(err)
			}
			sig, err := by(h).Sign(message(p[manifestAt].contents[:size]))
			if err != nil {
				h.t.Fatal(err)
			}
			edit(&sig)
			sigstorePath, detachedPath := signaturePaths(0)
			p[sigstoreAt], p[detachedAt] = newPart(sigstorePath, sig.Sigstore, mtime), newPart(detachedPath, sig.Detached, mtime)
			return p
		})
	}
	maker := func(h *hostileMaker) *signing.PrivateKey { return h.maker }
	stranger := func(h *hostileMaker) *signing.PrivateKey { return h.stranger }
	same := func(m []byte) []byte { return m }
	untouched := func(*signing.Signature) {}
	sigstore := func(from, to string) func(*signing.Signature) {
		return func(s *signing.Signature) { s.Sigstore = bytes.Replace(s.Sigstore, []byte(from), []byte(to), 1) }
	}
	der := func(edit func(der []byte) []byte) func(*signing.Signature) {
		return func(s *signing.Signature) {
			raw, _ := base64.StdEncoding.DecodeString(string(s.Detached))
			changed := base64.StdEncoding.EncodeToString(edit(raw))
			s.Sigstore = bytes.Replace(s.Sigstore, s.Detached, []byte(changed), 1)
			s.Detached = []byte(changed)
		}
	}
	add("none", signing.ErrUnsigned, RuleSignature, "airgap.json", func(_ *hostileMaker, p []part) []part { return slices.Delete(p, sigstoreAt, layoutAt) })
	add("Sigstore bundle alone", ErrFormat, RuleOrder, "airgap.json.sig", func(_ *hostileMaker, p []part) []part { return slices.Delete(p, detachedAt, layoutAt) })
	add("detached alone", signing.ErrUnsigned, RuleSignature, "", func(_ *hostileMaker, p []part) []part { return slices.Delete(p, sigstoreAt, detachedAt) })
	add("wrong name", signing.ErrUnsigned, RuleSignature, "", func(_ *hostileMaker, p []part) []part {
		p[sigstoreAt] = rename(p[sigstoreAt], "airgap.json.sigstore")
		return p
	})
	add("name of another signer", signing.ErrUnsigned, RuleSignature, "", func(_ *hostileMaker, p []part) []part {
		p[sigstoreAt], p[detachedAt] = rename(p[sigstoreAt], "airgap.json.1.sigstore.json"), rename(p[detachedAt], "airgap.json.1.sig")
		return p
	})
	add("halves swapped", signing.ErrUnsigned, RuleSignature, "", func(_ *hostileMaker, p []part) []part {
		p[sigstoreAt], p[detachedAt] = p[detachedAt], p[sigstoreAt]
		return p
	})
	add("after the layout", signing.ErrUnsigned, RuleSignature, "", func(_ *hostileMaker, p []part) []part {
		return slices.Concat(p[:sigstoreAt], p[layoutAt:indexAt], p[sigstoreAt:layoutAt], p[indexAt:])
	})
	add("seventeen signers", ErrFormat, RuleOrder, "where oci-layout must be", func(h *hostileMaker, p []part) []part {
		for i := range MaxSignatures {
			sigstorePath, detachedPath := signaturePaths(i + 1)
			at := 2*i + layoutAt
			p = slices.Insert(p, at, rename(p[sigstoreAt], sigstorePath), rename(p[detachedAt], detachedPath))
		}
		return p
	})
	add("second signer is the third", ErrFormat, RuleOrder, "where oci-layout must be", func(_ *hostileMaker, p []part) []part {
		return slices.Insert(p, layoutAt, rename(p[sigstoreAt], "airgap.json.2.sigstore.json"), rename(p[detachedAt], "airgap.json.2.sig"))
	})
	add("second signature is false", signing.ErrInvalid, RuleSignature, "signature 1", func(h *hostileMaker, p []part) []part {
		sig, err := h.maker.Sign([]byte("another manifest"))
		if err != nil {
			h.t.Fatal(err)
		}
		_, _, mtime, _ := decodeHeader(&p[manifestAt].header)
		return slices.Insert(p, layoutAt, newPart("airgap.json.1.sigstore.json", sig.Sigstore, mtime), newPart("airgap.json.1.sig", sig.Detached, mtime))
	})
	add("of a stranger in the maker's name", signing.ErrInvalid, RuleSignature, "signature 0, by key", func(h *hostileMaker, p []part) []part {
		_, size, mtime, _ := decodeHeader(&p[manifestAt].header)
		sig, err := h.stranger.Sign(p[manifestAt].contents[:size])
		if err != nil {
			h.t.Fatal(err)
		}
		sig.Sigstore = bytes.Replace(sig.Sigstore, hintOf(sig.Sigstore), hintOf(p[sigstoreAt].contents), 1)
		sigstorePath, detachedPath := signaturePaths(0)
		p[sigstoreAt], p[detachedAt] = newPart(sigstorePath, sig.Sigstore, mtime), newPart(detachedPath, sig.Detached, mtime)
		return p
	})
	add("none but the manifest again", signing.ErrUnsigned, RuleSignature, "airgap.json", func(_ *hostileMaker, p []part) []part {
		return slices.Insert(p, sigstoreAt, p[manifestAt])
	})
	signed("of a stranger", "unknown key", stranger, same, untouched)
	signed("of another manifest", "signature 0, by key", maker, func([]byte) []byte { return []byte(`{"apiVersion":"airgap/v1"}`) }, untouched)
	signed("of the manifest without its last byte", "signature 0, by key", maker, func(m []byte) []byte { return m[:len(m)-1] }, untouched)
	signed("empty Sigstore bundle", "missing or empty", maker, same, func(s *signing.Signature) { s.Sigstore = nil })
	signed("empty detached signature", "missing or empty", maker, same, func(s *signing.Signature) { s.Detached = nil })
	signed("halves that disagree", "detached signature is not", maker, same, func(s *signing.Signature) { s.Detached = []byte("MEUCIQ==") })
	signed("detached in raw bytes", "detached signature is not", maker, same, func(s *signing.Signature) {
		s.Detached, _ = base64.StdEncoding.DecodeString(string(s.Detached))
	})
	signed("detached with a space", "detached signature is not", maker, same, func(s *signing.Signature) { s.Detached = append(s.Detached, ' ') })
	signed("DER with data after it", "signature 0", maker, same, der(func(d []byte) []byte { return append(d, 0) }))
	signed("DER cut", "signature 0", maker, same, der(func(d []byte) []byte { return d[:len(d)-1] }))
	signed("DER with a bit", "signature 0", maker, same, der(func(d []byte) []byte { d[len(d)-1] ^= 1; return d }))
	signed("DER of zeros", "signature 0", maker, same, der(func([]byte) []byte { return []byte{0x30, 6, 2, 1, 0, 2, 1, 0} }))
	signed("not JSON", "Sigstore bundle", maker, same, func(s *signing.Signature) { s.Sigstore = []byte("signed") })
	signed("unknown field", "Sigstore bundle", maker, same, sigstore("{", `{"trusted":true,`))
	signed("field twice", "Sigstore bundle", maker, same, sigstore("{", `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",`))
	signed("another spelling of a field", "Sigstore bundle", maker, same, sigstore("messageSignature", "message_signature"))
	signed("version 0.1", "Sigstore bundle", maker, same, sigstore("bundle.v0.3+json", "bundle+json;version=0.1"))
	signed("no hint", "Sigstore bundle", maker, same, func(s *signing.Signature) {
		s.Sigstore = bytes.Replace(s.Sigstore, hintOf(s.Sigstore), nil, 1)
	})
	signed("data after the JSON", "Sigstore bundle", maker, same, func(s *signing.Signature) { s.Sigstore = append(s.Sigstore, "{}"...) })
	cases = append(cases, hostile{"signature", "larger than may be held", func(h *hostileMaker) []byte {
		return h.tar(func(p []part, end []byte) ([]part, []byte) {
			_, _, mtime, _ := decodeHeader(&p[manifestAt].header)
			p[sigstoreAt] = newPart("airgap.json.sigstore.json", make([]byte, MaxSignatureBytes+1), mtime)
			return p, end
		})
	}, ErrFormat, RuleBounds, "the limit is"})
	return cases
}

// hintOf is what a Sigstore bundle names its key by.
func hintOf(sigstore []byte) []byte {
	_, after, _ := bytes.Cut(sigstore, []byte(`"hint":"`))
	hint, _, _ := bytes.Cut(after, []byte(`"`))
	return hint
}

// hostileJSON are signed manifests that encoding/json would read, and some that it would not.
func hostileJSON() []hostile {
	var cases []hostile
	add := func(name string, rule Rule, edit func(m string) string) {
		cases = append(cases, hostile{"json", name, func(h *hostileMaker) []byte {
			m, err := h.manifestOf(h.tiny).Encode()
			if err != nil {
				h.t.Fatal(err)
			}
			return h.signed(h.tiny, []byte(edit(string(m))))
		}, ErrFormat, rule, "airgap.json"})
	}
	replace := func(name string, rule Rule, from, to string) {
		add(name, rule, func(m string) string {
			if !strings.Contains(m, from) {
				panic(fmt.Sprintf("the manifest has no %s", from))
			}
			return strings.Replace(m, from, to, 1)
		})
	}
	add("white space in front", RuleCanonical, func(m string) string { return " " + m })
	add("line at the end", RuleCanonical, func(m string) string { return m + "\n" })
	add("byte order mark", RuleJSON, func(m string) string { return "\ufeff" + m })
	add("data after it", RuleJSON, func(m string) string { return m + "{}" })
	add("the manifest again", RuleJSON, func(m string) string { return m + m })
	add("zero byte after it", RuleJSON, func(m string) string { return m + "\x00" })
	add("cut", RuleJSON, func(m string) string { return m[:len(m)/2] })
	add("nothing", RuleJSON, func(string) string { return "" })
	add("null", RuleCanonical, func(string) string { return "null" })
	add("empty object", RuleCanonical, func(string) string { return "{}" })
	add("list", RuleJSON, func(m string) string { return "[" + m + "]" })
	add("string", RuleJSON, func(m string) string { return `"airgap"` })
	add("nested without end", RuleJSON, func(m string) string { return strings.Repeat(`{"a":`, 20000) })
	add("in lines", RuleCanonical, func(m string) string { return strings.ReplaceAll(m, `,"`, ",\n\"") })
	add("comment", RuleJSON, func(m string) string { return strings.Replace(m, ",", ",/* */", 1) })
	add("comma at the end", RuleJSON, func(m string) string { return m[:len(m)-1] + ",}" })
	replace("unknown key", RuleJSON, `{"apiVersion"`, `{"trusted":true,"apiVersion"`)
	replace("unknown key in an entry", RuleJSON, `{"path":"oci-layout"`, `{"mode":"0755","path":"oci-layout"`)
	replace("key twice", RuleCanonical, `"name":"tiny"`, `"name":"tiny","name":"tiny"`)
	replace("key twice with other values", RuleCanonical, `"name":"tiny"`, `"name":"other","name":"tiny"`)
	replace("key in capitals", RuleCanonical, `"name"`, `"NAME"`)
	replace("key again in capitals", RuleCanonical, `"name":"tiny"`, `"name":"tiny","NAME":"other"`)
	replace("digest again in capitals", RuleCanonical, `"digest":`, `"DIGEST":"sha256:00","digest":`)
	replace("key with a letter that folds", RuleCanonical, `"kind"`, "\"\u212aind\"")
	replace("keys in another order", RuleCanonical, `"name":"tiny","version":"1.0.0"`, `"version":"1.0.0","name":"tiny"`)
	replace("null list", RuleCanonical, `"charts":[]`, `"charts":null`)
	replace("list left out", RuleCanonical, `"charts":[],`, ``)
	replace("empty field that is left out", RuleCanonical, `"version":"1.0.0"`, `"version":"1.0.0","versionFloor":""`)
	replace("false that is left out", RuleCanonical, `}],"charts"`, `,"system":false}],"charts"`)
	replace("number with an exponent", RuleJSON, `"size":30`, `"size":3e1`)
	replace("number with a point", RuleJSON, `"size":30`, `"size":30.0`)
	replace("number in quotes", RuleJSON, `"size":30`, `"size":"30"`)
	replace("number that overflows", RuleJSON, `"size":30`, `"size":9223372036854775808`)
	replace("number with a sign", RuleJSON, `"size":30`, `"size":+30`)
	replace("number with a zero in front", RuleJSON, `"size":30`, `"size":030`)
	replace("letter as an escape", RuleCanonical, `"tiny"`, `"\u0074iny"`)
	replace("escaped slash", RuleCanonical, `airgap/v1`, `airgap\/v1`)
	replace("no UTF-8", RuleCanonical, `"tiny"`, "\"tiny\xff\"")
	replace("half a surrogate", RuleCanonical, `"tiny"`, `"tiny\ud800"`)
	replace("line in a string", RuleJSON, `"tiny"`, "\"ti\nny\"")
	replace("single quotes", RuleJSON, `"tiny"`, `'tiny'`)
	return cases
}
