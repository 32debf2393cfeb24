package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"airgap/signing"
)

var _ = register(newKeygenCommand)

func newKeygenCommand(e *env) *cobra.Command {
	var prefix, passwordFile string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a pair of keys to sign bundles with",
		Long: `Make a pair of keys in cosign's format: PREFIX.key signs bundles and is kept secret, PREFIX.pub
goes to those who install them.

The password is taken from --password-file or COSIGN_PASSWORD, or asked for at the terminal.`,
		Example: `  airgap keygen --output-key-prefix site
  COSIGN_PASSWORD=… airgap keygen --output-key-prefix keys/release`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return e.keygen(prefix, passwordFile) },
	}
	cmd.Flags().StringVar(&prefix, "output-key-prefix", "airgap", "`prefix` of the two files")
	addPasswordFlag(cmd, &passwordFile)
	return cmd
}

func (e *env) keygen(prefix, passwordFile string) error {
	private, public := prefix+".key", prefix+".pub"
	for _, file := range []string{private, public} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return refuseToOverwrite(file)
		}
	}
	password, err := e.password(private, passwordFile, true)
	if err != nil {
		return err
	}
	privatePEM, publicPEM, err := signing.GenerateKey(password)
	if err != nil {
		return err
	}
	key, err := signing.ParsePublicKey(publicPEM)
	if err != nil {
		return err
	}
	if err := writeNew(private, privatePEM, 0o600); err != nil {
		return err
	}
	if err := writeNew(public, publicPEM, 0o644); err != nil {
		return errors.Join(err, os.Remove(private))
	}
	p := &printer{w: e.stdout}
	p.line("%s  keep secret: it signs bundles", private)
	p.line("%s  give to those who install them", public)
	p.line("key ID %s", key.ID())
	return p.err
}

// refuseToOverwrite is the error for a key that is there: who loses a key can sign no upgrade.
func refuseToOverwrite(file string) error {
	return withHint(&usageError{fmt.Errorf("%s: %w, and keys are never overwritten", file, fs.ErrExist)},
		"choose another --output-key-prefix, or move it away")
}

// writeNew writes a file that must not be there yet, and syncs it.
func writeNew(file string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return refuseToOverwrite(file)
	} else if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
