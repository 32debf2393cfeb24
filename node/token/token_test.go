package token

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"airgap/node/config"
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
			got, err := Parse(test.text)
			if got != test.want || (test.want == Token{}) != errors.Is(err, ErrFormat) {
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
		token, err := Parse(text)
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

func TestFiles(t *testing.T) {
	paths := config.PathsOf(t.TempDir())
	if err := os.MkdirAll(paths.Server(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(paths, authorities, "swordfish", ""); err != nil {
		t.Fatal(err)
	}
	server, err := ReadFile(ServerFile(paths))
	if err != nil || server != (Token{hash, UserServer, "swordfish"}) {
		t.Fatalf("%q, %v", server.Text(), err)
	}
	agent, err := ReadFile(AgentFile(paths))
	if err != nil || agent.User != UserNode || len(agent.Secret) != 2*secretBytes {
		t.Fatalf("%q, %v", agent.Text(), err)
	}
	for _, file := range []string{ServerFile(paths), AgentFile(paths)} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	// The secrets stay when the authorities change, and the hash follows.
	if err := Ensure(paths, []byte("new"), "", ""); err != nil {
		t.Fatal(err)
	}
	if again, _ := ReadFile(AgentFile(paths)); again.Secret != agent.Secret || again.CAHash != HashCA([]byte("new")) {
		t.Errorf("after the authorities changed: %q", again.Text())
	}
	if err := Ensure(paths, authorities, "haddock", ""); !errors.Is(err, ErrDiffers) || strings.Contains(err.Error(), "haddock") {
		t.Errorf("another token than the cluster's: %v", err)
	}
	if err := Ensure(paths, authorities, "", "abcdef.0123456789abcdef"); !errors.Is(err, ErrFormat) {
		t.Errorf("a bootstrap token as the cluster's: %v", err)
	}
}

func TestRotate(t *testing.T) {
	paths := config.PathsOf(t.TempDir())
	if err := os.MkdirAll(paths.Server(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(paths, authorities, "swordfish", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(paths, "haddock", ""); !errors.Is(err, ErrDiffers) {
		t.Errorf("rotated without the present one: %v", err)
	}
	fresh, err := Rotate(paths, "swordfish", "")
	if err != nil || len(fresh.Secret) != 2*secretBytes {
		t.Fatalf("%q, %v", fresh.Text(), err)
	}
	if _, err := Rotate(paths, fresh.Text(), "abcdef.0123456789abcdef"); !errors.Is(err, ErrFormat) {
		t.Errorf("a bootstrap token became the cluster's: %v", err)
	}
	if given, err := Rotate(paths, fresh.Text(), "haddock"); err != nil || given.Secret != "haddock" {
		t.Errorf("%v", err)
	}
	if kept, err := ReadFile(ServerFile(paths)); err != nil || kept.Secret != "haddock" {
		t.Errorf("%v", err)
	}
}

func TestBootstrapTokens(t *testing.T) {
	client, ctx, now := fake.NewClientset(), t.Context(), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	made, err := Create(ctx, client, now, Options{TTL: DefaultTTL, Description: "line 4", Usages: DefaultUsages, Groups: []string{DefaultGroup}})
	if err != nil || !made.IsBootstrap() {
		t.Fatalf("%v", err)
	}
	for name, o := range map[string]Options{
		"the same again": {Text: made.Text()}, "format": {Text: "abc.def"}, "usage": {Usages: []string{"cooking"}},
		"group": {Groups: []string{"system:masters"}}, "ttl": {TTL: -time.Hour},
	} {
		if _, err := Create(ctx, client, now, o); err == nil {
			t.Errorf("%s: was made", name)
		}
	}
	if _, err := Delete(ctx, client, "zzzzzz"); err == nil {
		t.Error("one that there is not was deleted")
	}
	if id, err := Delete(ctx, client, made.Text()); err != nil || id != made.User {
		t.Errorf("delete: %s, %v", id, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("K10" + hash + "::server:swordfish")
	f.Add("abcdef.0123456789abcdef")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(token.Text())
		if token.CAHash != "" && (err != nil || again != token) {
			t.Fatalf("%q is written as %q", text, token.Text())
		}
	})
}
