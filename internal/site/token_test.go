package site

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var (
	authorities = []byte("-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n")
	hash        = HashCA(authorities)
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want Token
	}{
		"server":               {"K10" + hash + "::server:swordfish\n", Token{hash, "server", "swordfish"}},
		"node":                 {"K10" + hash + "::node:sword:fish", Token{hash, "node", "sword:fish"}},
		"bootstrap":            {"K10" + hash + "::abcdef.0123456789abcdef", Token{hash, "abcdef", "0123456789abcdef"}},
		"secret alone":         {"swordfish", Token{"", "", "swordfish"}},
		"bootstrap alone":      {"abcdef.0123456789abcdef", Token{"", "abcdef", "0123456789abcdef"}},
		"secret with K10":      {"K10swordfish", Token{"", "", "K10swordfish"}},
		"empty":                {" \n", Token{}},
		"short hash":           {"K10abc::server:x", Token{}},
		"upper-case hash":      {"K10" + strings.ToUpper(hash) + "::server:x", Token{}},
		"no user":              {"K10" + hash + "::swordfish", Token{}},
		"no secret":            {"K10" + hash + "::server:", Token{}},
		"unknown user":         {"K10" + hash + "::root:x", Token{}},
		"two lines":            {"a\nb", Token{}},
		"not ASCII":            {"sw\u00f6rdfish", Token{}},
		"too long":             {strings.Repeat("x", 2000), Token{}},
		"bootstrap upper case": {"K10" + hash + "::ABCDEF.0123456789abcdef", Token{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseToken(test.text)
			if got != test.want || (test.want == Token{}) != errors.Is(err, ErrTokenFormat) {
				t.Fatalf("got %q %q %q, %v", got.CAHash, got.User, got.Secret, err)
			}
			if err == nil && got.CAHash != "" && got.Text() != strings.TrimSpace(test.text) {
				t.Errorf("written again it is %q", got.Text())
			}
		})
	}
}

func TestPrintingHidesTheSecret(t *testing.T) {
	token := Token{hash, UserServer, "swordfish"}
	for _, format := range []string{"%v", "%+v", "%s", "%#v"} {
		if text := fmt.Sprintf(format, struct{ T Token }{token}); strings.Contains(text, "swordfish") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func TestOpensAndVerifyCA(t *testing.T) {
	server := Token{hash, UserServer, "swordfish"}
	for text, want := range map[string]bool{
		"swordfish": true, "K10" + hash + "::server:swordfish": true, "K10" + hash + "::node:swordfish": false, "swordfisH": false, "sword": false,
	} {
		token, err := ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if token.Opens(server) != want {
			t.Errorf("%q opens: %v", text, !want)
		}
	}
	if (Token{}).Opens(Token{}) {
		t.Error("nothing opens a server without a token")
	}
	if err := server.VerifyCA(authorities); err != nil {
		t.Error(err)
	}
	if err := server.VerifyCA([]byte("another")); err == nil {
		t.Error("another cluster's authorities are accepted")
	}
}
