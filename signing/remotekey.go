package signing

import (
	"errors"
	"fmt"
)

// NewRemoteKey is a private key that is kept elsewhere, in hardware or by a service: sign returns its signature over a message, in ASN.1 DER.
// Each is held against the public key before it is used. Two signatures over one message may differ: RFC 6979 is for the keeper to follow.
func NewRemoteKey(public PublicKey, sign func(message []byte) (der []byte, err error)) *PrivateKey {
	return &PrivateKey{public: public, remote: sign}
}

// signRemotely has the keeper of the key sign.
func (k *PrivateKey) signRemotely(message []byte) ([]byte, error) {
	der, err := k.remote(message)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.public.ID(), err)
	}
	if !k.public.verifies(message, der) {
		return nil, errors.New("key " + k.public.ID() + ": its keeper's signature is not by this key over what was to be signed")
	}
	return der, nil
}
