package signing

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// TestDecrypt opens what the library that cosign uses has sealed, with all its parameters.
func TestDecrypt(t *testing.T) {
	secret, password := []byte("a private key"), []byte("correct horse")
	for name, level := range map[string]encrypted.KDFParameterStrength{"legacy": encrypted.Legacy, "standard": encrypted.Standard, "owasp": encrypted.OWASP} {
		t.Run(name, func(t *testing.T) {
			data, err := encrypted.EncryptWithCustomKDFParameters(secret, password, level)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := decrypt(data, password); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := decrypt(data, []byte("wrong")); err == nil || !strings.Contains(err.Error(), "decryption failed") {
				t.Errorf("another password: %v", err)
			}
		})
	}
}

func TestDecryptRefuses(t *testing.T) {
	data, err := encrypted.Encrypt([]byte("a private key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*sealed)
		want   string
	}{
		"another function":   {func(s *sealed) { s.KDF.Name = "md5" }, `encrypted by "md5"`},
		"another cipher":     {func(s *sealed) { s.Cipher.Name = "none" }, `and "none"`},
		"a huge table":       {func(s *sealed) { s.KDF.Params.N = 1 << 40 }, "none of cosign's"},
		"many rounds":        {func(s *sealed) { s.KDF.Params.P = 1 << 20 }, "none of cosign's"},
		"a short nonce":      {func(s *sealed) { s.Cipher.Nonce = s.Cipher.Nonce[:8] }, "nonce of 8 bytes"},
		"a changed secret":   {func(s *sealed) { s.Ciphertext[0] ^= 1 }, "decryption failed"},
		"a secret cut short": {func(s *sealed) { s.Ciphertext = s.Ciphertext[:4] }, "decryption failed"},
		"no secret":          {func(s *sealed) { s.Ciphertext = nil }, "decryption failed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var s sealed
			if err := json.Unmarshal(data, &s); err != nil {
				t.Fatal(err)
			}
			test.change(&s)
			changed, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decrypt(changed, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	if _, err := decrypt([]byte("{"), nil); err == nil {
		t.Error("took what is not JSON")
	}
}
