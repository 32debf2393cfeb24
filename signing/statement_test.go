package signing

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newStore sets up a trust store.
func newStore(t *testing.T, threshold int, keys ...*PrivateKey) *TrustStore {
	t.Helper()
	store := mustOpenTrustStore(t, filepath.Join(t.TempDir(), "trust"))
	if err := store.Init(Policy{Keys: publics(keys...), Threshold: threshold}); err != nil {
		t.Fatal(err)
	}
	return store
}

func publics(keys ...*PrivateKey) []PublicKey {
	var list []PublicKey
	for _, key := range keys {
		list = append(list, key.Public())
	}
	return list
}

// change makes the next statement of a store, signed by signers.
func change(t *testing.T, store *TrustStore, c Change, signers ...*PrivateKey) *Envelope {
	t.Helper()
	next, err := store.Statement().Next(c)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, next, signers...)
}

func signed(t *testing.T, s *Statement, signers ...*PrivateKey) *Envelope {
	t.Helper()
	e := s.Envelope()
	for _, key := range signers {
		if err := e.Sign(key); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestRotation(t *testing.T) {
	a, b, c, d, thief := newKey(t), newKey(t), newKey(t), newKey(t), newKey(t)
	// 2 of a, b, c become 2 of b, c, d.
	swap := Change{Remove: publics(a), Add: publics(d)}
	for _, test := range []struct {
		name    string
		change  Change
		signers []*PrivateKey
		want    error
	}{
		{"two of both", swap, []*PrivateKey{b, c}, nil},
		{"two of the old, the new one too", swap, []*PrivateKey{a, b, d}, nil},
		{"nobody", swap, nil, ErrUnsigned},
		{"one of both", swap, []*PrivateKey{b}, ErrUntrusted},
		{"two of the old, one of the new", swap, []*PrivateKey{a, b}, ErrUntrusted},
		{"two of the new, one of the old", swap, []*PrivateKey{b, d}, ErrUntrusted},
		{"one twice", swap, []*PrivateKey{b, b}, ErrUntrusted},
		{"a thief beside one", swap, []*PrivateKey{thief, b}, ErrUntrusted},
		{"the thief alone takes over", Change{Remove: publics(a, b, c), Add: publics(thief), Threshold: 1}, []*PrivateKey{thief}, ErrUntrusted},
		{"a higher threshold", Change{Threshold: 3}, []*PrivateKey{a, b}, ErrUntrusted},
		{"a higher threshold, reached", Change{Threshold: 3}, []*PrivateKey{a, b, c}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newStore(t, 2, a, b, c)
			before := store.Statement().Digest()
			err := store.Apply(change(t, store, test.change, test.signers...))
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			again := mustOpenTrustStore(t, store.dir)
			if changed := again.Statement().Digest() != before; changed != (test.want == nil) {
				t.Errorf("error %v, and the trust has changed: %v", err, changed)
			}
		})
	}
}

func TestStatementsFollowEachOther(t *testing.T) {
	a, b := newKey(t), newKey(t)
	store := newStore(t, 1, a)
	first := change(t, store, Change{Add: publics(b), Floors: map[string]string{"site-a": "1.4.0"}}, a)
	if err := store.Apply(first); err != nil {
		t.Fatal(err)
	}
	second := change(t, store, Change{Revoke: []string{a.Public().ID()}}, b)
	if err := mustOpenTrustStore(t, store.dir).Apply(second); !errors.Is(err, ErrUntrusted) && err != nil {
		t.Fatal(err)
	}
	store = mustOpenTrustStore(t, store.dir)
	if got := store.Floor("site-a"); got != "1.4.0" || store.Floor("site-b") != "" {
		t.Errorf("floor %q", got)
	}
	if !slices.Equal(store.Revoked(), []string{a.Public().ID()}) {
		t.Errorf("revoked %v", store.Revoked())
	}
	if _, err := store.Policy().Verify(message, []Signature{mustSign(t, a, message)}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a revoked key: %v, want ErrUntrusted", err)
	}
	if err := store.Apply(second); err != nil {
		t.Errorf("the statement in force again: %v", err)
	}
	if err := store.Apply(first); !errors.Is(err, ErrOrder) {
		t.Errorf("the one before: %v, want ErrOrder", err)
	}
	if err := newStore(t, 1, a).Apply(second); !errors.Is(err, ErrOrder) {
		t.Errorf("on a machine that has missed one: %v, want ErrOrder", err)
	}
	if err := newStore(t, 1, b).Apply(first); !errors.Is(err, ErrOrder) {
		t.Errorf("on another machine: %v, want ErrOrder", err)
	}
	if _, err := store.Statement().Next(Change{Add: publics(a)}); err == nil {
		t.Error("a revoked key was made trusted again")
	}
	forgetful := *store.Statement()
	forgetful.Generation, forgetful.Previous, forgetful.Revoked = 4, store.Statement().Digest(), []string{}
	if err := store.Apply(signed(t, &forgetful, b)); !errors.Is(err, ErrOrder) {
		t.Errorf("one that forgets what is revoked: %v, want ErrOrder", err)
	}
}

// TestKeyFilesBecomeAStatement holds the store of before to the rules of now.
func TestKeyFilesBecomeAStatement(t *testing.T) {
	a, b := newKey(t), newKey(t)
	dir := t.TempDir()
	file := filepath.Join(dir, a.Public().ID()+".pub")
	if err := os.WriteFile(file, a.Public().PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	store := mustOpenTrustStore(t, dir)
	if want := newStore(t, 1, a).Statement().Digest(); store.Statement().Digest() != want {
		t.Errorf("statement %s, a new machine with the same key has %s", store.Statement().Digest(), want)
	}
	if err := store.Apply(change(t, store, Change{Add: publics(b), Remove: publics(a)}, a, b)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("the file of a key that is no longer trusted is still there")
	}
	if got := mustOpenTrustStore(t, dir).Keys(); len(got) != 1 || got[0].ID() != b.Public().ID() {
		t.Errorf("keys %v", got)
	}
}

func TestEnvelopeIsReadStrictly(t *testing.T) {
	key := newKey(t)
	store := newStore(t, 1, key)
	e := change(t, store, Change{Threshold: 1, Floors: map[string]string{"a": "1.0.0"}}, key)
	good, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseEnvelope(append(bytes.Clone(good), '\n')); err != nil {
		t.Fatal(err)
	} else if _, err := ParseStatement(again); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":               nil,
		"cut":                 good[:len(good)-1],
		"white space":         bytes.ReplaceAll(good, []byte(`,`), []byte(`, `)),
		"an unknown field":    bytes.Replace(good, []byte(`{`), []byte(`{"x":1,`), 1),
		"a second payload":    bytes.Replace(good, []byte(`{`), []byte(`{"payload":"",`), 1),
		"trailing":            append(bytes.Clone(good), "{}"...),
		"a key that is no ID": bytes.ReplaceAll(good, []byte(key.Public().ID()), []byte("site")),
	} {
		if _, err := ParseEnvelope(data); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	other := Envelope{PayloadType: "application/vnd.in-toto+json", Payload: e.Payload}
	if err := other.Sign(key); err != nil {
		t.Fatal(err)
	}
	if err := store.Apply(&other); !errors.Is(err, ErrInvalid) {
		t.Errorf("signed as something else: %v, want ErrInvalid", err)
	}
	retyped := Envelope{PayloadType: StatementType, Payload: e.Payload, Signatures: other.Signatures}
	if err := store.Apply(&retyped); !errors.Is(err, ErrInvalid) {
		t.Errorf("signed as something else, and named as this: %v, want ErrInvalid", err)
	}
}

// TestEveryBitOfAnEnvelopeMatters flips each bit of a statement in turn.
func TestEveryBitOfAnEnvelopeMatters(t *testing.T) {
	key := newKey(t)
	store := newStore(t, 1, key)
	data, err := change(t, store, Change{Floors: map[string]string{"a": "1.0.0"}}, key).Encode()
	if err != nil {
		t.Fatal(err)
	}
	before := store.Statement().Digest()
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		e, err := ParseEnvelope(data)
		if err == nil {
			err = store.Apply(e)
		}
		if err == nil || store.Statement().Digest() != before {
			t.Fatalf("bit %d of byte %d: flipped and accepted", bit%8, bit/8)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func TestStatementSaysWhatIsWrong(t *testing.T) {
	key := newKey(t).Public()
	first, err := FirstStatement(Policy{Keys: []PublicKey{key}, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		change Change
		want   string
	}{
		{Change{Threshold: 2}, "2 of 1 keys"},
		{Change{Revoke: []string{key.ID()}}, "1 of 0 keys"},
		{Change{Revoke: []string{"site"}}, "64 hex digits"},
		{Change{Remove: publics(newKey(t))}, "is not trusted"},
		{Change{Add: []PublicKey{key}, Revoke: []string{key.ID()}}, "1 of 0 keys"},
	} {
		if _, err := first.Next(test.change); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.change, err, test.want)
		}
	}
}
