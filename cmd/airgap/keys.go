package main

import (
	"fmt"
	"os"

	"airgap/signing"
)

// readPublicKeys reads the public keys in files.
func readPublicKeys(files []string) ([]signing.PublicKey, error) {
	var keys []signing.PublicKey
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, withHint(&usageError{err}, "the public key is the .pub file that `airgap keygen` wrote")
		}
		key, err := signing.ParsePublicKey(data)
		if err != nil {
			return nil, withHint(&usageError{fmt.Errorf("%s: %w", file, err)}, "the public key is the .pub file that `airgap keygen` wrote")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// readPrivateKey reads the signing key in a file.
func (e *env) readPrivateKey(file string) (*signing.PrivateKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, withHint(&usageError{err}, "make a pair of keys with `airgap keygen`")
	}
	password, err := e.password(file, false)
	if err != nil {
		return nil, err
	}
	key, err := signing.ParsePrivateKey(data, password)
	if err != nil {
		return nil, withHint(&usageError{fmt.Errorf("%s: %w", file, err)},
			"the private key is the .key file that `airgap keygen` wrote; its password is in %s", passwordVariable)
	}
	return key, nil
}
