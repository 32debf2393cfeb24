"""Verify an airgap bundle and list it: python3 bundle.py BUNDLE.airgap KEY.pub (docs/format.md; needs the openssl program). Each byte is read
once, in order. What is inside the files (rules index, graph, attestation) and the shapes of names (manifest) are left to airgap. Exit code 3: refused."""
import base64, hashlib, json, subprocess, sys, tempfile, time

ROLES = "layout index manifest config statement signature chart values objects file executable layer".split()
FIELDS = {  # of each object, in order; those with "?" are left out when they are empty
    "": "apiVersion kind name version versionFloor? platforms issuedAt minimumAirgap? images charts manifests files distributions attestations? base? entries",
    "images": "reference digest mediaType size platforms system?", "platforms": "platform digest", "entries": "path size sha256 role omitted?",
    "charts": "release namespace chart version artifact digest values?", "manifests": "name artifact digest", "base": "name version digest",
    "files": "target mode artifact digest", "distributions": "platform version kubernetes artifact digest size", "attestations": "predicateType artifact digest"}

class Refused(Exception): pass
def need(ok, rule, what):
    if not ok: raise Refused(f"rule {rule}: {what}")
def header(name, size, mtime):
    octal = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    head = name.encode().ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0" + octal + b"%011o\0" % mtime
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + 2 * b"0000000\0" + bytes(167)
    return head + b"%06o\0 " % (sum(head + tail) + 8 * 32) + tail
class Tar:
    def __init__(self, file): self.file, self.block, self.mtime = file, None, None
    def read(self, n):
        data = self.file.read(n)
        need(len(data) == n, "complete", f"the bundle ends at byte {self.file.tell()}")
        return data
    def peek(self):
        self.block = self.block or self.read(512)
        return self.block[:100].rstrip(b"\0").decode(errors="replace")
    def entry(self, name, size=None, limit=None):
        """Yield the contents of the next entry, which must be name, and check its header and padding."""
        need(self.peek() == name, "order", f"{self.peek()!r} stands where {name} must be")
        try: stated, mtime = int(self.block[124:135], 8) if size is None else size, int(self.block[136:147], 8)
        except ValueError: raise Refused(f"rule header: {name}")
        self.mtime = mtime if self.mtime is None else self.mtime
        need(limit is None or stated <= limit, "bounds", name)
        need(self.block == header(name, stated, self.mtime), "header, size or time", name)
        self.block = None
        for at in range(0, stated, 1 << 20): yield self.read(min(1 << 20, stated - at))
        need(not any(self.read(-stated % 512)), "padding", name)
    def head(self, name, limit): return b"".join(self.entry(name, limit=limit))
def once(pairs):
    need(len(dict(pairs)) == len(pairs), "canonical or signature", "a key is there twice")
    return dict(pairs)
def shaped(value, kind):
    """Check keys, their order and the types of an object of the manifest, and of those within."""
    fields = FIELDS[kind].split()
    need(isinstance(value, dict), "json", kind)
    for key, v in value.items():
        need(key in fields or key + "?" in fields and v, "json", f"{kind}.{key}")
        need(type(v) is {"size": int, "system": bool, "omitted": bool}.get(key, list if kind == "" and key in FIELDS or key == "platforms" else str), "json", f"{kind}.{key}")
        for each in v if type(v) is list and (kind, key) != ("", "platforms") else []: shaped(each, key)
    need([f for f in fields if f.rstrip("?") in value or f[-1] != "?"] == [f for k in value for f in fields if f.rstrip("?") == k], "canonical", f"the keys of {kind or 'the manifest'}")
def signed_by(key, message, sigstore, detached):
    """Whether key has signed; a signature in its name that is false refuses the bundle."""
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", key, "-outform", "DER"], check=True, capture_output=True).stdout
    try:
        s, raw = json.loads(sigstore, object_pairs_hook=once), base64.b64decode(detached.removesuffix(b"\n"), validate=True)
        keyless, b64 = "certificate" in s["verificationMaterial"], lambda b: base64.b64encode(b).decode()
        hint = "none" if keyless else s["verificationMaterial"]["publicKey"]["hint"]
        want = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"publicKey": {"hint": hint}}, "messageSignature":
                {"messageDigest": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(message).digest())}, "signature": b64(raw)}}
    except (ValueError, KeyError, TypeError) as e: raise Refused(f"rule signature: {e!r}")
    need(hint and b64(raw).encode() == detached.removesuffix(b"\n") and s.get("messageSignature", {}).get("signature") == b64(raw), "signature", "its halves disagree")
    need(raw[1:2] == bytes([len(raw) - 2]), "signature", "data after its DER")
    if hint != b64(hashlib.sha256(der).digest()): return False
    with tempfile.NamedTemporaryFile() as sig, tempfile.NamedTemporaryFile() as m:
        sig.write(raw), sig.flush(), m.write(message), m.flush()
        good = subprocess.run(["openssl", "dgst", "-sha256", "-verify", key, "-signature", sig.name, m.name], capture_output=True).returncode == 0
    return need(good and s == want, "signature", "false, in the name of the key") or True
def verify(path, key):
    with open(path, "rb", buffering=1 << 16) as file:
        tar, signed = Tar(file), []
        raw = tar.head("airgap.json", 32 << 20)
        for stem in ["airgap.json"] + [f"airgap.json.{i}" for i in range(1, 16)]:
            if tar.peek() != stem + ".sigstore.json": break
            signed.append(signed_by(key, raw, tar.head(stem + ".sigstore.json", 64 << 10), tar.head(stem + ".sig", 64 << 10)))
        need(any(signed), "signature", "not signed by this key")
        try: m = json.loads(raw.decode(), object_pairs_hook=once)
        except (ValueError, RecursionError) as e: raise Refused(f"rule json: {e}")
        shaped(m, "")
        need(json.dumps(m, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") == raw, "canonical", "airgap.json")
        need(m["issuedAt"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(tar.mtime)), "time", "issuedAt is not that of the tar")
        entries = m["entries"]
        need([e["path"] for e in entries[:2]] == ["oci-layout", "index.json"] and len({e["path"] for e in entries}) == len(entries), "manifest", "entries")
        need(all(e["path"] == "blobs/sha256/" + e["sha256"] and e["role"] in ROLES[1:] for e in entries[2:]), "manifest", "an entry's path or role")
        order = [(ROLES.index(e["role"]), "" if e["role"] == "layer" else e["sha256"]) for e in entries[2:]]
        need(order == sorted(order), "manifest", "the order of the entries")
        for e in [e for e in entries if not e.get("omitted")]:
            digest = hashlib.sha256()
            need(e["size"] >= 0, "manifest", e["path"])
            for chunk in tar.entry(e["path"], e["size"]): digest.update(chunk)
            need(digest.hexdigest() == e["sha256"], "digest", e["path"])
        need(not any((tar.block or tar.read(512)) + tar.read(512)) and not file.read(1), "end", "two blocks of zeros, then nothing")
    return m

if __name__ == "__main__":
    try: m = verify(*sys.argv[1:])
    except Refused as e: sys.exit(print(f"refused: {e}", file=sys.stderr) or 3)
    print(f"{m['name']} {m['version']}, {sum(e['size'] for e in m['entries'] if not e.get('omitted'))} bytes in {len(m['entries'])} entries")
    for e in m["images"] + m["charts"] + m["manifests"] + m["files"] + m["distributions"]: print(*[v for v in e.values() if type(v) is str])
