package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"airgap/internal/cosigncli"
	"airgap/signing"
)

// keyFlags say what to sign with.
type keyFlags struct {
	files        []string
	passwordFile string
}

// add binds the flags; about says what the key signs.
func (k *keyFlags) add(cmd *cobra.Command, about string) {
	cmd.Flags().StringArrayVar(&k.files, "key", nil, "private key `file` "+about+", or a URI of a key in hardware or with a service, through the machine's cosign: awskms://, azurekms://, gcpkms://, hashivault://, k8s://, pkcs11:, env://")
	addPasswordFlag(cmd, &k.passwordFile)
}

// addPasswordFlag adds --password-file.
func addPasswordFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "password-file", "", "`file` with the password of the private key, or the PIN of its token, in its first line (default: "+passwordVariable+", or asked for)")
}

// private reads the keys. Those that are kept elsewhere sign as long as ctx lasts.
func (k *keyFlags) private(ctx context.Context, e *env) ([]*signing.PrivateKey, error) {
	var keys []*signing.PrivateKey
	for _, file := range k.files {
		read := e.readPrivateKey
		if cosigncli.IsURI(file) {
			read = func(uri, passwordFile string) (*signing.PrivateKey, error) {
				return e.remoteKey(ctx, uri, passwordFile)
			}
		}
		key, err := read(file, k.passwordFile)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

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
func (e *env) readPrivateKey(file, passwordFile string) (*signing.PrivateKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, withHint(&usageError{err}, "make a pair of keys with `airgap keygen`")
	}
	password, err := e.password(file, passwordFile, false)
	if err != nil {
		return nil, err
	}
	key, err := signing.ParsePrivateKey(data, password)
	if err != nil {
		return nil, withHint(&usageError{fmt.Errorf("%s: %w", file, err)},
			"the private key is the .key file that `airgap keygen` wrote; its password is in %s, or in --password-file", passwordVariable)
	}
	return key, nil
}

// readPasswordFile reads the first line of a file.
func readPasswordFile(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--password-file: %w", err)}
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}
