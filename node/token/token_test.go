package token

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"airgap/internal/site"
	"airgap/node/config"
)

var (
	authorities = []byte("-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n")
	hash        = site.HashCA(authorities)
)

func TestFiles(t *testing.T) {
	paths := config.PathsOf(t.TempDir())
	if err := os.MkdirAll(paths.Server(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(paths, authorities, "swordfish", ""); err != nil {
		t.Fatal(err)
	}
	server, err := ReadFile(ServerFile(paths))
	if err != nil || server != (site.Token{CAHash: hash, User: site.UserServer, Secret: "swordfish"}) {
		t.Fatalf("%q, %v", server.Text(), err)
	}
	agent, err := ReadFile(AgentFile(paths))
	if err != nil || agent.User != site.UserNode || len(agent.Secret) != 32 {
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
	if again, _ := ReadFile(AgentFile(paths)); again.Secret != agent.Secret || again.CAHash != site.HashCA([]byte("new")) {
		t.Errorf("after the authorities changed: %q", again.Text())
	}
	if err := Ensure(paths, authorities, "haddock", ""); !errors.Is(err, ErrDiffers) || strings.Contains(err.Error(), "haddock") {
		t.Errorf("another token than the cluster's: %v", err)
	}
	if err := Ensure(paths, authorities, "", "abcdef.0123456789abcdef"); !errors.Is(err, site.ErrTokenFormat) {
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
	if err != nil || len(fresh.Secret) != 32 {
		t.Fatalf("%q, %v", fresh.Text(), err)
	}
	if _, err := Rotate(paths, fresh.Text(), "abcdef.0123456789abcdef"); !errors.Is(err, site.ErrTokenFormat) {
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
		token, err := site.ParseToken(text)
		if err != nil {
			return
		}
		again, err := site.ParseToken(token.Text())
		if token.CAHash != "" && (err != nil || again != token) {
			t.Fatalf("%q is written as %q", text, token.Text())
		}
	})
}
