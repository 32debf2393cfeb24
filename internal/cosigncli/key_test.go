package cosigncli

import "testing"

func TestURIs(t *testing.T) {
	for key, want := range map[string]struct {
		uri, token bool
		shown      string
	}{
		"site.key":                         {false, false, "site.key"},
		"awskms:///alias/site":             {true, false, "awskms:///alias/site"},
		"pkcs11:token=eve;object=site":     {true, true, "pkcs11:token=eve;object=site"},
		"pkcs11:token=eve?pin-value=12;34": {true, true, "pkcs11:token=eve?pin-value=…;34"},
		"pkcs11:token=eve;object=a?module-path=/x.so&pin-value=1234&max-sessions=2": {true, true, "pkcs11:token=eve;object=a?module-path=/x.so&pin-value=…&max-sessions=2"},
	} {
		if IsURI(key) != want.uri || IsToken(key) != want.token || Shown(key) != want.shown {
			t.Errorf("%s: %v, %v, %q; want %+v", key, IsURI(key), IsToken(key), Shown(key), want)
		}
	}
}
