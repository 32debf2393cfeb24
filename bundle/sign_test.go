package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/signing"
)

// What several makers sign one after the other is what they would have signed together.
func TestAddSignatures(t *testing.T) {
	var keys []*signing.PrivateKey
	for range 4 {
		key, err := keyPair()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	first, second, third, stranger := keys[0], keys[1], keys[2], keys[3]
	for _, kind := range []string{"bundle.airgap", "folder/"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			together, apart := filepath.Join(dir, "together")+kind, filepath.Join(dir, "apart")+kind
			for path, signers := range map[string][]*signing.PrivateKey{together: {first, second, third}, apart: {first}} {
				if _, err := Create(context.Background(), path, tinyContent(t), CreateOptions{Signers: signers}); err != nil {
					t.Fatal(err)
				}
			}
			trust := signing.Policy{Keys: []signing.PublicKey{first.Public()}, Threshold: 1}
			if _, err := AddSignatures(context.Background(), apart, trust, []Signer{second, first, third}, nil); err != nil {
				t.Fatal(err)
			}
			if kind == "bundle.airgap" && !bytes.Equal(mustRead(t, together), mustRead(t, apart)) {
				t.Error("the two files differ")
			}
			all := signing.Policy{Keys: []signing.PublicKey{first.Public(), second.Public(), third.Public()}, Threshold: 3}
			if _, signers, err := Verify(context.Background(), apart, all, nil); err != nil || len(signers) != 3 {
				t.Errorf("signers %v, error %v", signers, err)
			}
			theirs := signing.Policy{Keys: []signing.PublicKey{stranger.Public()}, Threshold: 1}
			if _, err := AddSignatures(context.Background(), apart, theirs, []Signer{stranger}, nil); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("of another maker: %v, want ErrUntrusted", err)
			}
			left, err := os.ReadDir(dir)
			if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name()[0] == '.' }) {
				t.Errorf("left over: %v, %v", left, err)
			}
		})
	}
}

// A damaged bundle is not signed, and stays as it is.
func TestAddSignaturesChecksFirst(t *testing.T) {
	key, _ := signer(t, siteKey)
	path := filepath.Join(t.TempDir(), "bundle.airgap")
	if _, err := Create(context.Background(), path, tinyContent(t), CreateOptions{Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	further, _ := signer(t, strangersKey)
	data := mustRead(t, path)
	for _, at := range []int{len(data) - 1, len(data) - 3*tarBlockBytes, len(data) / 2} {
		damaged := bytes.Clone(data)
		damaged[at] ^= 1
		if err := os.WriteFile(path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := AddSignatures(context.Background(), path, AllowUnsigned{}, []Signer{further}, nil); err == nil {
			t.Errorf("signed with byte %d changed", at)
		}
		if !bytes.Equal(mustRead(t, path), damaged) {
			t.Errorf("byte %d changed: the file was written", at)
		}
	}
}
