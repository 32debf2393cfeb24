package signing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"testing"
)

var message = []byte(`{"name":"site-a","version":"1.4.0"}`)

func mustSign(t testing.TB, key *PrivateKey, message []byte) Signature {
	t.Helper()
	sig, err := key.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestSignIsDeterministic(t *testing.T) {
	key := newKey(t)
	first, second := mustSign(t, key, message), mustSign(t, key, message)
	if !bytes.Equal(first.Sigstore, second.Sigstore) || !bytes.Equal(first.Detached, second.Detached) {
		t.Error("two signatures of one message by one key differ")
	}
	if bytes.ContainsAny(first.Sigstore, " \n") {
		t.Errorf("white space, which varies with the build, in %s", first.Sigstore)
	}
}

func TestPolicy(t *testing.T) {
	a, b, c, stranger := newKey(t), newKey(t), newKey(t), newKey(t)
	sigA, sigB, sigStranger := mustSign(t, a, message), mustSign(t, b, message), mustSign(t, stranger, message)
	other := mustSign(t, a, []byte(`{"name":"site-a","version":"1.4.1"}`))
	one := Policy{Keys: []PublicKey{a.Public()}, Threshold: 1}
	twoOfThree := Policy{Keys: []PublicKey{a.Public(), b.Public(), c.Public()}, Threshold: 2}

	// edit returns sigA with each file changed.
	edit := func(f func(Signature) Signature) []Signature {
		return []Signature{f(Signature{bytes.Clone(sigA.Sigstore), bytes.Clone(sigA.Detached)})}
	}
	der, err := base64.StdEncoding.DecodeString(string(sigA.Detached))
	if err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		name   string
		policy Policy
		sigs   []Signature
		want   error
	}{
		{"signed", one, []Signature{sigA}, nil},
		{"detached with a newline", one, edit(func(s Signature) Signature { s.Detached = append(s.Detached, '\n'); return s }), nil},
		{"white space as stock cosign leaves it", one, edit(func(s Signature) Signature {
			s.Sigstore = bytes.ReplaceAll(s.Sigstore, []byte(`,`), []byte(`, `))
			return s
		}), nil},
		{"a stranger's beside it", one, []Signature{sigStranger, sigA}, nil},
		{"two of three", twoOfThree, []Signature{sigB, sigA}, nil},

		{"deleted", one, nil, ErrUnsigned},
		{"both files empty", one, []Signature{{}}, ErrInvalid},
		{"Sigstore bundle missing", one, []Signature{{Detached: sigA.Detached}}, ErrInvalid},
		{"detached missing", one, []Signature{{Sigstore: sigA.Sigstore}}, ErrInvalid},
		{"of another message", one, []Signature{other}, ErrInvalid},
		{"another message's digest", one, edit(func(s Signature) Signature {
			otherParsed, _ := other.parse()
			parsed, _ := s.parse()
			parsed.entity.GetMessageSignature().MessageDigest = otherParsed.entity.GetMessageSignature().MessageDigest
			s.Sigstore, _ = parsed.entity.MarshalJSON()
			return s
		}), ErrInvalid},
		{"wrong key", one, []Signature{sigB}, ErrUntrusted},
		{"in another key's name", one, edit(func(Signature) Signature {
			return Signature{Sigstore: bytes.ReplaceAll(sigB.Sigstore, []byte(b.Public().hint()), []byte(a.Public().hint())), Detached: sigB.Detached}
		}), ErrInvalid},
		{"valid, named as a stranger's", one, edit(func(s Signature) Signature {
			s.Sigstore = bytes.ReplaceAll(s.Sigstore, []byte(a.Public().hint()), []byte(b.Public().hint()))
			return s
		}), ErrUntrusted},
		{"one of two", twoOfThree, []Signature{sigA}, ErrUntrusted},
		{"one signer twice", twoOfThree, []Signature{sigA, sigA}, ErrUntrusted},
		{"one good, one broken", twoOfThree, []Signature{sigA, sigB, {Sigstore: sigB.Sigstore, Detached: sigA.Detached}}, ErrInvalid},

		{"detached is not base64", one, edit(func(s Signature) Signature { s.Detached[3] = '!'; return s }), ErrInvalid},
		{"detached is raw DER", one, edit(func(s Signature) Signature { s.Detached = der; return s }), ErrInvalid},
		{"DER garbage", one, edit(func(s Signature) Signature {
			junk := []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0x30}, len(der))))
			return Signature{bytes.ReplaceAll(s.Sigstore, s.Detached, junk), junk}
		}), ErrInvalid},
		{"JSON garbage", one, edit(func(s Signature) Signature { s.Sigstore = []byte("{"); return s }), ErrInvalid},
		{"trailing JSON", one, edit(func(s Signature) Signature { s.Sigstore = append(s.Sigstore, "{}"...); return s }), ErrInvalid},
		{"unknown field", one, edit(func(s Signature) Signature {
			s.Sigstore = bytes.Replace(s.Sigstore, []byte(`{`), []byte(`{"x":1,`), 1)
			return s
		}), ErrInvalid},
		{"older version", one, edit(func(s Signature) Signature {
			s.Sigstore = bytes.Replace(s.Sigstore, []byte(`v0.3`), []byte(`v0.2`), 1)
			return s
		}), ErrInvalid},

		{"no keys", Policy{Threshold: 1}, []Signature{sigA}, ErrUntrusted},
		{"no threshold", Policy{Keys: one.Keys}, []Signature{sigA}, ErrUntrusted},
		{"key configured twice counted once", Policy{Keys: []PublicKey{a.Public(), a.Public()}, Threshold: 2}, []Signature{sigA, sigA}, ErrUntrusted},
		{"empty key", Policy{Keys: []PublicKey{{}}, Threshold: 1}, []Signature{sigA}, ErrUntrusted},
	} {
		t.Run(test.name, func(t *testing.T) {
			signers, err := test.policy.Verify(message, test.sigs)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if (err == nil) != (len(signers) >= test.policy.Threshold && len(signers) > 0) {
				t.Errorf("error %v with signers %v", err, signers)
			}
		})
	}
}

func TestUntrustedNamesTheKey(t *testing.T) {
	mine, theirs := newKey(t), newKey(t)
	_, err := Policy{Keys: []PublicKey{mine.Public()}, Threshold: 1}.Verify(message, []Signature{mustSign(t, theirs, message)})
	var untrusted *UntrustedError
	if !errors.As(err, &untrusted) || !slices.Equal(untrusted.Signers, []string{theirs.Public().ID()}) {
		t.Errorf("error %v does not name key %s", err, theirs.Public().ID())
	}
}

// TestEveryBitOfASignatureMatters flips each bit of both files in turn.
func TestEveryBitOfASignatureMatters(t *testing.T) {
	key := newKey(t)
	policy := Policy{Keys: []PublicKey{key.Public()}, Threshold: 1}
	sig := mustSign(t, key, message)
	for _, file := range [][]byte{sig.Sigstore, sig.Detached} {
		for bit := range 8 * len(file) {
			file[bit/8] ^= 1 << (bit % 8)
			if _, err := policy.Verify(message, []Signature{sig}); err == nil {
				t.Errorf("bit %d of byte %d of %.40s…: flipped and accepted", bit%8, bit/8, file)
			}
			file[bit/8] ^= 1 << (bit % 8)
		}
	}
	if _, err := policy.Verify(message, []Signature{sig}); err != nil {
		t.Errorf("the unchanged signature: %v", err)
	}
}
