// Package cosigncli signs with keys that are kept elsewhere, in hardware or by a key management service, through the cosign
// executable of the machine. cosign knows how each is reached; its libraries for that are tens of megabytes, which a program that
// goes to every site has no use for.
package cosigncli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Name is the executable that is looked for in PATH.
const Name = "cosign"

// Key is a key that cosign reaches by a URI. The zero values of the other fields will do.
type Key struct {
	URI        string    // awskms://…, azurekms://…, gcpkms://…, hashivault://…, k8s://namespace/secret, pkcs11:…, env://VARIABLE
	Executable string    // path of cosign; "" looks for it in PATH
	Env        []string  // its environment; nil: this process'
	Stdin      io.Reader // where it asks for a password or PIN; nil: nowhere
	Stderr     io.Writer // where it asks and tells what it does; nil: nowhere, and an error says it
}

// IsURI says whether a --key names a key that cosign reaches, and not a file.
func IsURI(key string) bool {
	return strings.Contains(key, "://") || IsToken(key)
}

// IsToken says whether a key is in a token that is spoken to by PKCS #11 (a URI of RFC 7512).
func IsToken(key string) bool { return strings.HasPrefix(key, "pkcs11:") }

// pin is what of a URI unlocks the token.
var pin = regexp.MustCompile(`([?&;]pin-value=)[^&;]*`)

// Shown is a URI as it may be shown: without a PIN.
func Shown(uri string) string { return pin.ReplaceAllString(uri, "${1}…") }

// Public returns the public key in PKIX PEM.
func (k Key) Public(ctx context.Context) ([]byte, error) {
	return k.run(ctx, "public-key", "--key", k.URI)
}

// Sign returns a signature over message: for ECDSA in ASN.1 DER, over its SHA-256. Nothing is sent to a transparency log. Whoever calls
// holds it against the public key.
func (k Key) Sign(ctx context.Context, message []byte) (signature []byte, err error) {
	folder, err := os.MkdirTemp("", "airgap-sign-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	payload, made := filepath.Join(folder, "message"), filepath.Join(folder, "bundle.json")
	if err := os.WriteFile(payload, message, 0o600); err != nil {
		return nil, err
	}
	// The flags are those that 2.6 and 3.1 have in common.
	if _, err := k.run(ctx, "sign-blob", "--key", k.URI, "--bundle", made, "--new-bundle-format=true",
		"--use-signing-config=false", "--tlog-upload=false", "--yes", payload); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(made)
	if err != nil {
		return nil, err
	}
	var bundle struct {
		MessageSignature struct {
			Signature []byte `json:"signature"`
		} `json:"messageSignature"`
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		return nil, fmt.Errorf("the bundle that cosign wrote: %w", err)
	}
	if len(bundle.MessageSignature.Signature) == 0 {
		return nil, errors.New("the bundle that cosign wrote has no signature")
	}
	return bundle.MessageSignature.Signature, nil
}

// run runs cosign and returns what it prints. That there is none is an [exec.ErrNotFound].
func (k Key) run(ctx context.Context, arguments ...string) ([]byte, error) {
	executable := k.Executable
	if executable == "" {
		executable = Name
	}
	cmd := exec.CommandContext(ctx, executable, arguments...)
	cmd.Env, cmd.Stdin = k.Env, k.Stdin
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if k.Stderr != nil {
		cmd.Stderr = io.MultiWriter(&said, k.Stderr)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s %s: %w%s", Name, arguments[0], err, lastLines(said.String()))
	}
	return out.Bytes(), nil
}

// lastLines are the end of what a program said, for an error.
func lastLines(text string) string {
	const most = 5
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if lines = lines[max(0, len(lines)-most):]; lines[0] == "" {
		return ""
	}
	return ":\n" + strings.Join(lines, "\n")
}
