package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/internal/atomicfile"
	"airgap/signing"
)

var _ = register(newSignCommand)

// signOptions are the flags of sign.
type signOptions struct {
	key    keyFlags
	made   []string // files
	verify []string
	output string
}

func newSignCommand(e *env) *cobra.Command {
	var o signOptions
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Add a signature to a bundle, or to a statement of trust",
		Long: `Add a signature to a bundle, or to a statement of trust that ` + "`airgap trust`" + ` wrote: for sites that
want those of several makers, each at their own desk. What others have signed stays.

The whole bundle is read and checked before it is signed. A file is written anew beside the old one, so it needs its
size in free space; a folder gets two small files more. With --verify-key, only a bundle that this key has
signed is signed too.

--signature adds one that was made elsewhere over airgap.json, the file that ` + "`airgap inspect --manifest`" + ` prints:
with cosign by a key in hardware, or keyless.`,
		Example: `  airgap sign site.airgap --key bob.key
  airgap sign site.airgap --key bob.key --verify-key ann.pub
  airgap sign trust-2.json --key bob.key
  airgap inspect site.airgap --manifest > airgap.json
  cosign sign-blob airgap.json --bundle airgap.sigstore.json --new-bundle-format
  airgap sign site.airgap --signature airgap.sigstore.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return e.sign(cmd.Context(), args[0], o) },
	}
	o.key.add(cmd, "to sign with (repeatable)")
	cmd.Flags().StringArrayVar(&o.made, "signature", nil, "Sigstore bundle `file` (v0.3) over the manifest to add, made elsewhere (repeatable)")
	cmd.Flags().StringArrayVar(&o.verify, "verify-key", nil, "public key `file`, any of which must have signed it before (repeatable)")
	addOutputFlag(cmd, &o.output, "o")
	return cmd
}

// signReport is what sign prints as JSON.
type signReport struct {
	File    string   `json:"file"`
	Name    string   `json:"name,omitempty"`
	Version string   `json:"version,omitempty"`
	KeyIDs  []string `json:"keyIDs"` // of --key
}

func (e *env) sign(ctx context.Context, path string, o signOptions) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if len(o.key.files)+len(o.made) == 0 {
		return withHint(&usageError{errors.New("--key is missing: what to sign with")}, "make a pair of keys with `airgap keygen`")
	}
	envelope, err := readEnvelope(path)
	if err != nil {
		return err
	}
	before, err := readPublicKeys(o.verify)
	if err != nil {
		return err
	}
	keys, err := o.key.private(ctx, e)
	if err != nil {
		return err
	}
	report := signReport{File: path, KeyIDs: keyIDs(keys)}
	if envelope != nil && len(o.made) > 0 {
		return &usageError{errors.New("--signature is for bundles: a statement of trust is signed with --key")}
	}
	if envelope != nil {
		err = signStatement(path, envelope, before, keys)
	} else {
		err = e.signBundle(ctx, &report, before, keys, o)
	}
	if err != nil {
		return err
	}
	if o.output == outputJSON {
		return e.printJSON(report)
	}
	p := &printer{w: e.stdout}
	if len(keys) > 0 {
		p.line("%s: signed by key ID %s", path, strings.Join(report.KeyIDs, ", "))
	}
	for _, file := range o.made {
		p.line("%s: signature %s added; whose it is, verify says", path, file)
	}
	return p.err
}

func (e *env) signBundle(ctx context.Context, report *signReport, before []signing.PublicKey, keys []*signing.PrivateKey, o signOptions) error {
	var trust bundle.Trust = bundle.AllowUnsigned{}
	if len(before) > 0 {
		trust = signing.Policy{Keys: before, Threshold: 1}
	}
	var signers []bundle.Signer
	for _, key := range keys {
		signers = append(signers, key)
	}
	for _, file := range o.made {
		data, err := os.ReadFile(file)
		if err != nil {
			return &usageError{err}
		}
		made, err := signing.ParseMade(data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		signers = append(signers, made)
	}
	bar := e.progress("sign", o.output)
	defer bar.Stop()
	manifest, err := bundle.AddSignatures(ctx, report.File, trust, signers, bar.Set)
	if err != nil {
		return err
	}
	bar.Done()
	report.Name, report.Version = manifest.Name, manifest.Version
	return nil
}

// signStatement adds signatures to a statement of trust.
func signStatement(path string, envelope *signing.Envelope, before []signing.PublicKey, keys []*signing.PrivateKey) error {
	if _, err := signing.ParseStatement(envelope); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(before) > 0 {
		if _, err := (signing.Policy{Keys: before, Threshold: 1}).VerifyEnvelope(envelope); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, key := range keys {
		if err := envelope.Sign(key); err != nil {
			return err
		}
	}
	return writeEnvelope(path, envelope)
}

// readEnvelope reads a signed statement. It gives nil for what is none: a bundle.
func readEnvelope(path string) (*signing.Envelope, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, &usageError{err}
	}
	defer file.Close()
	first := make([]byte, 1)
	if n, err := file.Read(first); n == 0 || err != nil || first[0] != '{' {
		return nil, nil // a folder, a tar, or nothing
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	envelope, err := signing.ParseEnvelope(bytes.TrimSuffix(data, []byte("\n")))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return envelope, nil
}

// writeEnvelope writes a signed statement.
func writeEnvelope(path string, envelope *signing.Envelope) error {
	data, err := envelope.Encode()
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(data, '\n'), 0o644)
}
