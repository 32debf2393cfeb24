package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"airgap/internal/cosigncli"
	"airgap/signing"
)

// remoteKey is a key that the machine's cosign reaches by a URI: its public half is asked for now, signatures when they are wanted.
func (e *env) remoteKey(ctx context.Context, uri, passwordFile string) (*signing.PrivateKey, error) {
	key := cosigncli.Key{URI: uri, Env: os.Environ()}
	if passwordFile != "" {
		password, err := readPasswordFile(passwordFile)
		if err != nil {
			return nil, err
		}
		key.Env = append(key.Env, passwordVariable+"="+string(password))
	}
	if isTerminal(e.stdin) && isTerminal(e.stderr) { // for passwords and PINs
		key.Stdin, key.Stderr = e.stdin, e.stderr
	}
	encoded, err := key.Public(ctx)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, withHint(&usageError{fmt.Errorf("--key %s: keys that are kept elsewhere are reached through cosign, which is not in PATH", uri)},
			"install cosign, 2.6.5 or later, on this machine; nothing of it goes to a site")
	case err != nil:
		return nil, fmt.Errorf("--key %s: %w", uri, err)
	}
	public, err := signing.ParsePublicKey(encoded)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--key %s: %w; bundles are signed with ECDSA on P-256", uri, err)}
	}
	return signing.NewRemoteKey(public, func(message []byte) ([]byte, error) { return key.Sign(ctx, message) }), nil
}
