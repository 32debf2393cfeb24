package signing

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"

	"airgap/internal/scrypt"
)

// scryptMemoryBytes is what opening a key may take. Half of what cosign's parameters ask for costs an eighth more time; see
// docs/decisions/0046.
const scryptMemoryBytes = 32 << 20

// sealed is the JSON in a private key's PEM block, as go-securesystemslib writes it (package encrypted).
type sealed struct {
	KDF struct {
		Name   string       `json:"name"`
		Params scryptParams `json:"params"`
		Salt   []byte       `json:"salt"`
	} `json:"kdf"`
	Cipher struct {
		Name  string `json:"name"`
		Nonce []byte `json:"nonce"`
	} `json:"cipher"`
	Ciphertext []byte `json:"ciphertext"`
}

// scryptParams are the parameters of RFC 7914.
type scryptParams struct {
	N int `json:"N"`
	R int `json:"r"`
	P int `json:"p"`
}

// knownParams are those that cosign takes. Others could ask for any amount of memory or time.
var knownParams = map[scryptParams]bool{{1 << 15, 8, 1}: true, {1 << 16, 8, 1}: true, {1 << 17, 8, 1}: true}

// decrypt does what the library's Decrypt does, in a memory that does not grow with the parameters.
func decrypt(data, password []byte) ([]byte, error) {
	var s sealed
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	var key [32]byte
	var nonce [24]byte
	switch {
	case s.KDF.Name != "scrypt" || s.Cipher.Name != "nacl/secretbox":
		return nil, fmt.Errorf("encrypted by %.40q and %.40q, want scrypt and nacl/secretbox", s.KDF.Name, s.Cipher.Name)
	case !knownParams[s.KDF.Params]:
		return nil, fmt.Errorf("scrypt parameters %+v are none of cosign's", s.KDF.Params)
	case len(s.Cipher.Nonce) != len(nonce):
		return nil, fmt.Errorf("a nonce of %d bytes, want %d", len(s.Cipher.Nonce), len(nonce))
	}
	derived, err := scrypt.Key(password, s.KDF.Salt, s.KDF.Params.N, s.KDF.Params.R, s.KDF.Params.P, len(key), scryptMemoryBytes)
	if err != nil {
		return nil, err
	}
	copy(key[:], derived)
	copy(nonce[:], s.Cipher.Nonce)
	plain, ok := secretbox.Open(nil, s.Ciphertext, &nonce, &key)
	if !ok {
		return nil, errors.New("decryption failed")
	}
	return plain, nil
}
