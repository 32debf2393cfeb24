package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"airgap/signing"
)

// Places in the tiny bundle.
const (
	manifestAt = iota
	sigstoreAt
	detachedAt
	layoutAt
	indexAt
	imageAt
	configAt
	layerAt
)

// hostileTars change what stands in the tar and in which order: all that archive/tar would let pass.
func hostileTars() []hostile {
	var cases []hostile
	add := func(name string, rule Rule, text string, edit func(p []part, end []byte) ([]part, []byte)) {
		want := ErrFormat
		if rule == RuleComplete {
			want = ErrTruncated
		}
		cases = append(cases, hostile{"tar", name, func(h *hostileMaker) []byte { return h.tar(edit) }, want, rule, text})
	}
	renamed := func(name string, at int, to, text string) {
		add(name, RuleOrder, text, func(p []part, end []byte) ([]part, []byte) {
			p[at] = rename(p[at], to)
			return p, end
		})
	}
	contents := func(name string, rule Rule, at, from int, text string) {
		add(name, rule, text, func(p []part, end []byte) ([]part, []byte) {
			p[at].contents = bytes.Clone(p[at].contents)
			p[at].contents[(from+len(p[at].contents))%len(p[at].contents)] = 1
			return p, end
		})
	}
	add("first entry is another", RuleOrder, "airgap.json", func(p []part, end []byte) ([]part, []byte) { return p[layoutAt:], end })
	add("nothing but the end", RuleOrder, "airgap.json is missing", func(p []part, end []byte) ([]part, []byte) { return nil, end })
	add("nothing at all", RuleComplete, "airgap.json", func(p []part, end []byte) ([]part, []byte) { return nil, nil })
	add("entry twice", RuleOrder, "where", func(p []part, end []byte) ([]part, []byte) { return slices.Insert(p, layerAt, p[configAt]), end })
	add("last entry twice", RuleEnd, "follows", func(p []part, end []byte) ([]part, []byte) { return append(p, p[layerAt]), end })
	add("index twice with other contents", RuleOrder, "index.json", func(p []part, end []byte) ([]part, []byte) {
		_, _, mtime, _ := decodeHeader(&p[indexAt].header)
		return slices.Insert(p, imageAt, newPart(indexPath, []byte(`{"schemaVersion":2,"manifests":[]}`), mtime)), end
	})
	add("entries reordered", RuleOrder, "where", func(p []part, end []byte) ([]part, []byte) {
		p[configAt], p[layerAt] = p[layerAt], p[configAt]
		return p, end
	})
	add("layout after index", RuleOrder, "where", func(p []part, end []byte) ([]part, []byte) {
		p[layoutAt], p[indexAt] = p[indexAt], p[layoutAt]
		return p, end
	})
	add("manifest last", RuleOrder, "airgap.json", func(p []part, end []byte) ([]part, []byte) { return append(p[sigstoreAt:], p[manifestAt]), end })
	add("last entry missing", RuleOrder, "missing", func(p []part, end []byte) ([]part, []byte) { return p[:layerAt], end })
	add("all entries missing", RuleOrder, "oci-layout is missing", func(p []part, end []byte) ([]part, []byte) { return p[:layoutAt], end })
	add("middle entry missing", RuleOrder, "where", func(p []part, end []byte) ([]part, []byte) { return slices.Delete(p, imageAt, configAt), end })
	add("unlisted entry at the end", RuleEnd, "manifest.json", func(p []part, end []byte) ([]part, []byte) {
		return append(p, rename(p[indexAt], "manifest.json")), end
	})
	add("unlisted entry in front", RuleOrder, "manifest.json", func(p []part, end []byte) ([]part, []byte) {
		return slices.Insert(p, layoutAt, rename(p[indexAt], "manifest.json")), end
	})
	add("unlisted entry between", RuleOrder, "etc/passwd", func(p []part, end []byte) ([]part, []byte) {
		return slices.Insert(p, layerAt, rename(p[indexAt], "etc/passwd")), end
	})
	renamed("dot before a name", indexAt, "./index.json", "./index.json")
	renamed("upper case", indexAt, "INDEX.json", "INDEX.json")
	renamed("absolute", indexAt, "/index.json", `"/index.json"`)
	renamed("parent", indexAt, "../index.json", "../index.json")
	renamed("detour", indexAt, "blobs/../index.json", "blobs/../index.json")
	renamed("slash at the end", indexAt, "index.json/", "index.json/")
	renamed("back slash", indexAt, `.\index.json`, "index.json")
	renamed("another letter that looks alike", indexAt, "іndex.json", "where index.json")
	renamed("control characters", indexAt, "\x1b[2Jindex.json", `\x1b[2J`)
	renamed("blob in upper case", layerAt, "blobs/SHA256/"+strings.Repeat("0", 64), "where blobs/sha256")
	renamed("blob of another algorithm", layerAt, "blobs/sha512/"+strings.Repeat("0", 64), "where blobs/sha256")
	renamed("blob with two slashes", layerAt, "blobs//sha256/"+strings.Repeat("0", 64), "//")
	for at, name := range []string{"manifest", "Sigstore bundle", "detached signature", "layout", "index", "image manifest", "config", "layer"} {
		contents("padding after "+name, RulePadding, at, -1, "padding")
	}
	add("zero block between entries", RuleOrder, "missing", func(p []part, end []byte) ([]part, []byte) {
		p[configAt].contents = append(slices.Clip(p[configAt].contents), make([]byte, tarBlockBytes)...)
		return p, end
	})
	add("end in the middle", RuleOrder, "missing", func(p []part, end []byte) ([]part, []byte) {
		p[configAt].contents = append(slices.Clip(p[configAt].contents), end...)
		return p, end
	})
	add("zero block in front", RuleOrder, "missing", func(p []part, end []byte) ([]part, []byte) {
		return slices.Insert(p, 0, part{}), end
	})
	add("second zero block has a bit", RuleEnd, "second block", func(p []part, end []byte) ([]part, []byte) {
		end[2*tarBlockBytes-1] = 1
		return p, end
	})
	add("third zero block", RuleEnd, "follows", func(p []part, end []byte) ([]part, []byte) { return p, append(end, make([]byte, tarBlockBytes)...) })
	add("record of GNU tar", RuleEnd, "follows", func(p []part, end []byte) ([]part, []byte) {
		return p, append(end, make([]byte, 20*tarBlockBytes-(len(end)%(20*tarBlockBytes)))...)
	})
	add("trailing byte", RuleEnd, "follows", func(p []part, end []byte) ([]part, []byte) { return p, append(end, 0) })
	add("trailing bundle", RuleEnd, "follows", func(p []part, end []byte) ([]part, []byte) { return p, append(end, join(p, end)...) })
	add("trailing zip", RuleEnd, "follows", func(p []part, end []byte) ([]part, []byte) {
		return p, append(end, "PK\x05\x06"+strings.Repeat("\x00", 18)...)
	})
	add("one zero block", RuleComplete, "the end", func(p []part, end []byte) ([]part, []byte) { return p, end[:tarBlockBytes] })
	add("no zero block", RuleComplete, "the end", func(p []part, end []byte) ([]part, []byte) { return p, nil })
	for at, name := range []string{"manifest", "Sigstore bundle", "detached signature", "layout", "index", "image manifest", "config"} {
		add("cut after "+name, RuleComplete, "", func(p []part, end []byte) ([]part, []byte) { return p[:at+1], nil })
	}
	for at, name := range map[int]string{layoutAt: "layout", indexAt: "index", imageAt: "image manifest", configAt: "config", layerAt: "layer"} {
		cases = append(cases, hostile{"tar", "bit in " + name, func(h *hostileMaker) []byte {
			return h.tar(func(p []part, end []byte) ([]part, []byte) {
				p[at].contents = bytes.Clone(p[at].contents)
				p[at].contents[2] ^= 8
				return p, end
			})
		}, ErrDigest, RuleDigest, "differs from what was signed"})
	}
	cases = append(cases, hostile{"tar", "bit in manifest", func(h *hostileMaker) []byte {
		return h.tar(func(p []part, end []byte) ([]part, []byte) {
			p[manifestAt].contents = bytes.Replace(p[manifestAt].contents, []byte("1.0.0"), []byte("1.0.1"), 1)
			return p, end
		})
	}, signing.ErrInvalid, RuleSignature, recopy})
	slices.SortStableFunc(cases, func(a, b hostile) int { return strings.Compare(a.name, b.name) })
	return cases
}

// hostileHeaders change a header: there is one form of it, and nothing else is read.
func hostileHeaders() []hostile {
	var cases []hostile
	add := func(name string, at int, rule Rule, text string, edit func(b *tarBlock)) {
		cases = append(cases, hostile{"header", name, func(h *hostileMaker) []byte {
			return h.tar(func(p []part, end []byte) ([]part, []byte) {
				p[at].header = edited(p[at].header, edit)
				return p, end
			})
		}, ErrFormat, rule, text})
	}
	for _, flag := range []byte("1234567xgSLKMVDNXA") {
		kind, ok := foreignTypes[flag]
		if !ok {
			kind = "made by another program"
		}
		add(fmt.Sprintf("type 0x%02x", flag), layerAt, RuleHeader, kind, func(b *tarBlock) { b[typeflagAt] = flag })
	}
	add("old regular file", layerAt, RuleHeader, "", func(b *tarBlock) { b[typeflagAt] = 0 })
	add("PAX record in front of the manifest", manifestAt, RuleHeader, "PAX", func(b *tarBlock) { b[typeflagAt] = 'x' })
	add("symbolic link with a target", layerAt, RuleHeader, "symbolic link", func(b *tarBlock) {
		b[typeflagAt] = '2'
		copy(b[157:], "/etc/shadow")
	})
	set := func(name string, from int, value string) {
		add(name, layerAt, RuleHeader, "another program", func(b *tarBlock) { copy(b[from:], value) })
	}
	set("executable", nameEnd, "0000755")
	set("setuid", nameEnd, "0004644")
	set("mode in spaces", nameEnd, "   644 ")
	set("user ID", 108, "0001000")
	set("group ID", 116, "0001000")
	set("target of a link", 157, "/etc/shadow")
	set("magic of GNU tar", magicStart, "ustar  \x00")
	set("version", 263, "01")
	set("no magic", magicStart, strings.Repeat("\x00", 8))
	set("user name", 265, "root")
	set("group name", 297, "root")
	set("device", deviceStart, "0000001")
	set("prefix", 345, "..")
	set("prefix after a zero byte", 346, "blobs")
	set("after the last field", 511, "x")
	add("name goes on after its end", layerAt, RuleOrder, "\\x00x", func(b *tarBlock) { b[nameEnd-10] = 'x' })
	set("size in spaces", sizeStart, "          5\x00")
	set("size without a zero byte", sizeStart, "000000000005")
	set("size in base 256", sizeStart, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05")
	set("negative size", sizeStart, strings.Repeat("\xff", 12))
	add("size of eight exbibytes", layerAt, RuleSize, "were signed", func(b *tarBlock) { copy(b[sizeStart:], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff") })
	set("size that is no number", sizeStart, "0000000000z")
	set("time in base 256", mtimeStart, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05")
	set("no name", 0, strings.Repeat("\x00", nameEnd))
	add("one byte more", layerAt, RuleSize, "6 bytes, 5 were signed", func(b *tarBlock) { b[sizeEnd-2]++ })
	add("one byte less", layerAt, RuleSize, "4 bytes, 5 were signed", func(b *tarBlock) { b[sizeEnd-2]-- })
	add("no bytes", layerAt, RuleSize, "0 bytes, 5 were signed", func(b *tarBlock) { copy(b[sizeStart:], "00000000000") })
	add("manifest that claims to be huge", manifestAt, RuleBounds, "limit", func(b *tarBlock) { copy(b[sizeStart:], "77777777777") })
	add("signature that claims to be huge", sigstoreAt, RuleBounds, "limit", func(b *tarBlock) { copy(b[sizeStart:], "77777777777") })
	add("layer that claims to be huge", layerAt, RuleSize, "were signed", func(b *tarBlock) { copy(b[sizeStart:], "77777777777") })
	add("another time", layerAt, RuleTime, "time", func(b *tarBlock) { b[mtimeEnd-2] ^= 1 })
	cases = append(cases, hostile{"header", "another time in all", func(h *hostileMaker) []byte {
		return h.tar(func(p []part, end []byte) ([]part, []byte) {
			for i := range p {
				p[i].header = edited(p[i].header, func(b *tarBlock) { b[mtimeEnd-2] ^= 1 })
			}
			return p, end
		})
	}, ErrFormat, RuleTime, "issuedAt"})
	for name, value := range map[string]string{"checksum": "000000\x00 ", "checksum in spaces": "      \x00 ", "checksum of signed bytes": "777777\x00 "} {
		cases = append(cases, hostile{"header", "wrong " + name, func(h *hostileMaker) []byte {
			return h.tar(func(p []part, end []byte) ([]part, []byte) {
				copy(p[layerAt].header[sumStart:], value)
				return p, end
			})
		}, ErrFormat, RuleHeader, "damaged"})
	}
	slices.SortStableFunc(cases, func(a, b hostile) int { return strings.Compare(a.name, b.name) })
	return cases
}
