package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"airgap/internal/cosigncli"
	"airgap/signing"
)

// pinVariable is where cosign takes the PIN of a token from, if the key's URI has none.
const pinVariable = "COSIGN_PKCS11_PIN"

// remoteKey is a key that the machine's cosign reaches by a URI: its public half is asked for now, signatures when they are wanted.
func (e *env) remoteKey(ctx context.Context, uri, passwordFile string) (*signing.PrivateKey, error) {
	key := cosigncli.Key{URI: uri, Env: os.Environ()}
	if err := e.unlock(&key, passwordFile); err != nil {
		return nil, err
	}
	if isTerminal(e.stdin) && isTerminal(e.stderr) { // for passwords
		key.Stdin, key.Stderr = e.stdin, e.stderr
	}
	encoded, err := key.Public(ctx)
	shown := cosigncli.Shown(uri)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, withHint(&usageError{fmt.Errorf("--key %s: keys that are kept elsewhere are reached through cosign, which is not in PATH", shown)},
			"install cosign, 2.6.5 or later, on this machine; nothing of it goes to a site")
	case err != nil && cosigncli.IsToken(uri):
		return nil, withHint(fmt.Errorf("--key %s: %w", shown, err), "the PIN is in %s, --password-file or the URI's pin-value; the builds of cosign that know tokens are called cosign-…-pivkey-pkcs11key", pinVariable)
	case err != nil:
		return nil, fmt.Errorf("--key %s: %w", shown, err)
	}
	public, err := signing.ParsePublicKey(encoded)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--key %s: %w; bundles are signed with ECDSA on P-256", shown, err)}
	}
	return signing.NewRemoteKey(public, func(message []byte) ([]byte, error) { return key.Sign(ctx, message) }), nil
}

// unlock gives cosign what unlocks a key: the password that a file has, or the PIN of a token. The PIN is asked for once, here: cosign would
// ask again for each signature.
func (e *env) unlock(key *cosigncli.Key, passwordFile string) error {
	token := cosigncli.IsToken(key.URI)
	if passwordFile != "" {
		password, err := readPasswordFile(passwordFile)
		if err != nil {
			return err
		}
		key.Env = append(key.Env, passwordVariable+"="+string(password))
		if token {
			key.Env = append(key.Env, pinVariable+"="+string(password))
		}
		return nil
	}
	if _, given := e.getenv(pinVariable); !token || given || strings.Contains(key.URI, "pin-value=") || !isTerminal(e.stdin) {
		return nil
	}
	pin, err := e.readPassword(fmt.Sprintf("PIN for %s (none: empty): ", cosigncli.Shown(key.URI)))
	key.Env = append(key.Env, pinVariable+"="+string(pin))
	return err
}
