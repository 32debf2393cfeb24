package source

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/signing"
)

func TestVerifyImages(t *testing.T) {
	key, stranger := testKey(t), testKey(t)
	host := newRegistry(t)
	signed := push(t, host+"/team/signed:1", image(t, "linux/amd64", "signed"))
	attach(t, host+"/team/signed", signed, signed, key)
	push(t, host+"/team/bare:1", image(t, "linux/amd64", "bare"))
	others := push(t, host+"/team/others:1", image(t, "linux/amd64", "others"))
	attach(t, host+"/team/others", others, others, stranger)
	moved := push(t, host+"/team/moved:1", image(t, "linux/amd64", "moved"))
	attach(t, host+"/team/moved", moved, signed, key) // a signature of another image under this one's tag
	folder := t.TempDir()
	for name, key := range map[string]*signing.PrivateKey{"maker.pub": key, "stranger.pub": stranger} {
		if err := os.WriteFile(filepath.Join(folder, name), key.Public().PEM(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const makers = `{images: ["HOST/team/*"], keys: [maker.pub]}`
	for name, test := range map[string]struct {
		image, rules string
		want         string // in the error; "": it is accepted
	}{
		"signed":                         {"HOST/team/signed:1", makers, ""},
		"by a digest":                    {"HOST/team/signed@" + signed, makers, ""},
		"under another name":             {`{source: "HOST/team/signed:1", name: elsewhere.example/app:1}`, makers, ""},
		"any of the keys":                {"HOST/team/signed:1", `{images: ["*"], keys: [stranger.pub, maker.pub]}`, ""},
		"no rule is about it":            {"HOST/team/bare:1", `{images: ["*/other/*"], keys: [maker.pub]}`, ""},
		"not signed":                     {"HOST/team/bare:1", makers, "has no signature"},
		"not signed, under another name": {`{source: "HOST/team/bare:1", name: elsewhere.example/app:1}`, makers, "has no signature"},
		"not signed, by the site's name": {`{source: "HOST/team/bare:1", name: elsewhere.example/app:1}`, `{images: ["elsewhere.example/*"], keys: [maker.pub]}`, "has no signature"},
		"by another key":                 {"HOST/team/others:1", makers, "another key"},
		"a signature of another image":   {"HOST/team/moved:1", makers, "what is signed is about"},
		"every rule must hold":           {"HOST/team/signed:1", makers + `, {images: ["*/signed:*"], keys: [stranger.pub]}`, "spec.verifyImages[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll("  images: ["+test.image+"]\n  verifyImages: ["+test.rules+"]\n", "HOST", host)
			gathered, _, err := gather(t, load(t, folder, text), options())
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if wanted := !strings.Contains(test.rules, "*/other/*"); wanted && (len(gathered.Verified) != 1 || gathered.Verified[0].Signer != key.Public().ID()) {
					t.Errorf("verified %+v", gathered.Verified)
				}
				return
			}
			if !errors.Is(err, ErrNotSigned) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "spec.verifyImages[") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestVerifyImagesOfBundles takes images from bundles: with their signatures, without, and as part of the distribution.
func TestVerifyImagesOfBundles(t *testing.T) {
	key := testKey(t)
	host := newRegistry(t)
	app := push(t, host+"/app:1", image(t, "linux/amd64", "app"))
	push(t, host+"/bare:1", image(t, "linux/amd64", "bare"))
	attach(t, host+"/app", app, app, key)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "maker.pub"), key.Public().PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	base := func(file, image string, system bool) {
		extra := ""
		if system {
			extra = "  system: true\n"
		}
		gathered, _, err := gather(t, load(t, folder, "  images: ["+image+"]\n"+extra), options())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.Create(t.Context(), filepath.Join(folder, file), gathered.Content, bundle.CreateOptions{Signers: []*signing.PrivateKey{key}}); err != nil {
			t.Fatal(err)
		}
	}
	base("signed.airgap", host+"/app:1", false)
	base("bare.airgap", host+"/bare:1", false)
	base("system.airgap", host+"/bare:1", true)
	o := options()
	o.Trust = signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}
	for from, refused := range map[string]bool{"signed.airgap": false, "bare.airgap": true, "system.airgap": false} {
		spec := must(Parse(filepath.Join(folder, "airgap.yaml"), []byte("apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: test, version: 1.0.0}\nspec:\n  from: ["+
			from+"]\n  platforms: [linux/amd64]\n  verifyImages: [{images: [\"*\"], keys: [maker.pub]}]\n")))(t)
		if _, _, err := gather(t, spec, o); errors.Is(err, ErrNotSigned) != refused || !refused && err != nil {
			t.Errorf("from %s: %v", from, err)
		}
	}
}

func TestImageRulesAreChecked(t *testing.T) {
	for rule, want := range map[string]string{
		`{images: ["nginx:*"], keys: [a.pub]}`:                                                    "names no registry",
		`{images: ["library/nginx"], keys: [a.pub]}`:                                              "names no registry",
		`{images: [], keys: [a.pub]}`:                                                             "images is empty",
		`{images: ["*"]}`:                                                                         "says nobody",
		`{images: ["*"], identities: [{subject: a, issuer: b}]}`:                                  "needs trustedRoot",
		`{images: ["*"], keys: [a.pub], trustedRoot: r.json}`:                                     "is for identities",
		`{images: ["*"], trustedRoot: r.json, identities: [{subject: a}]}`:                        "needs a subject and an issuer",
		`{images: ["*"], keys: [absent.pub]}`:                                                     "absent.pub: no such file",
		`{images: ["*"], trustedRoot: absent.json, identities: [{subject: a, issuer: b}]}`:        "absent.json: no such file",
		`{images: ["localhost/*", "registry.example:5000/*", "*.example/*"], keys: [absent.pub]}`: "absent.pub: no such file",
	} {
		text := "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: test, version: 1.0.0}\nspec:\n  from: []\n  platforms: [linux/amd64]\n  verifyImages: [" + rule + "]\n"
		spec, err := Parse("airgap.yaml", []byte(text))
		if err == nil {
			_, err = Gather(t.Context(), spec, options())
		}
		var problem *Error
		if !errors.As(err, &problem) || !strings.Contains(strings.ReplaceAll(err.Error(), "open ", ""), want) {
			t.Errorf("%s: got %v, want %q", rule, err, want)
		}
	}
}
