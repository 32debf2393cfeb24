package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"airgap/bundle"
	"airgap/bundle/source"
	"airgap/internal/crictl"
	"airgap/signing"
)

// The exit codes, the same for every verb.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitPreflight   = 4
	exitInterrupted = 5
)

// exitCodes is their explanation in --help.
const exitCodes = `Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused (signature,
digest or trust), 4 preflight failed, 5 interrupted: run it again to continue.`

// usageError is an error in how the program was called or configured.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// preflightError says what is missing on the machine.
type preflightError struct{ error }

func (e *preflightError) Unwrap() error { return e.error }

// hintedError is an error with what to do about it.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// withHint adds what to do about an error.
func withHint(err error, format string, args ...any) error {
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

// refusals are the errors of what must not be trusted.
var refusals = []error{
	signing.ErrUnsigned, signing.ErrInvalid, signing.ErrUntrusted, signing.ErrTrustSet,
	bundle.ErrFormat, bundle.ErrDigest, bundle.ErrTruncated, source.ErrNotSigned,
}

// exitCode is the one place that turns errors into exit codes.
func exitCode(ctx context.Context, err error) int {
	var usage *usageError
	var spec *source.Error
	var preflight *preflightError
	var drift *source.DriftError
	var base *bundle.MissingBaseError
	var command crictl.ExitStatus
	var proof *proofFailure
	switch {
	case errors.As(err, &command):
		return command.ExitStatus() // a client's: what it ran has the say
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &proof):
		return proof.Code
	case errors.As(err, &usage), errors.As(err, &spec):
		return exitUsage
	case errors.As(err, &preflight), errors.As(err, &base):
		return exitPreflight
	case errors.As(err, &drift):
		return exitRefused
	}
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return exitRefused
		}
	}
	return exitFailed
}

// message is an error as it is printed: once, with a hint below it if there is one.
func message(err error) string {
	text := "airgap: " + strings.ReplaceAll(err.Error(), "\n", "\n  ") + "\n"
	if hint := hintFor(err); hint != "" {
		text += "  hint: " + hint + "\n"
	}
	return text
}

// hintFor is what to do about an error: what the verb said, or what such errors have in common.
func hintFor(err error) string {
	var hinted *hintedError
	var usage *usageError
	var base *bundle.MissingBaseError
	switch {
	case errors.As(err, &base):
		return "install that bundle first, or bring the whole bundle instead of the delta; `airgap inventory` here and `airgap build --since` at the desk make one that fits"
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.Is(err, context.Canceled):
		return "interrupted; run it again"
	case errors.Is(err, syscall.ENOSPC):
		return "free some space there, or write to another disk"
	case errors.Is(err, source.ErrNotSigned):
		return "take an image that is signed, or have its maker sign it (`cosign sign`); `airgap build --update` looks for signatures anew"
	case errors.Is(err, signing.ErrUntrusted):
		return "give the public key of its maker with --key, and compare its ID over another channel"
	case errors.As(err, &usage) && !errors.Is(err, fs.ErrNotExist):
		return "see `airgap --help` and `airgap VERB --help`"
	}
	return ""
}
