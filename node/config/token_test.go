package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadTokens(t *testing.T) {
	file, empty := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(file, []byte("swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		given Tokens
		want  string // of Token; empty: an error
	}{
		"value":   {Tokens{Token: "haddock"}, "haddock"},
		"file":    {Tokens{TokenFile: file}, "swordfish"},
		"both":    {Tokens{Token: "haddock", TokenFile: file}, ""},
		"empty":   {Tokens{Token: "haddock", AgentTokenFile: empty}, ""},
		"missing": {Tokens{TokenFile: file + "x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.given.ReadTokens()
			if (err != nil) != (test.want == "") || err == nil && test.given.Token != test.want {
				t.Errorf("got %q, %v", test.given.Token, err)
			}
		})
	}
}

func TestTokensAreNotPrinted(t *testing.T) {
	s := NewServer()
	s.Token, s.AgentToken = "swordfish", "haddock"
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{s.Token, s.AgentToken} {
		if strings.Contains(string(data), secret) {
			t.Errorf("%s is in the JSON", secret)
		}
	}
}
