package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"airgap/internal/progress"
)

// The rules of what goes where: results go to stdout; stderr stays empty unless something is wrong or it is
// a terminal, where progress is drawn. With --output json stdout is one JSON document.

const (
	outputText = "text"
	outputJSON = "json"
)

// addOutputFlag adds --output; shorthand is "o", or "" where -o means the file to write.
func addOutputFlag(cmd *cobra.Command, format *string, shorthand string) {
	cmd.Flags().StringVarP(format, "output", shorthand, outputText, "`format` of the report: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputText, outputJSON}, cobra.ShellCompDirectiveNoFileComp))
}

// checkOutput complains about a format that is none.
func checkOutput(format string) error {
	if !slices.Contains([]string{outputText, outputJSON}, format) {
		return &usageError{fmt.Errorf("--output %q: want text or json", format)}
	}
	return nil
}

// printJSON writes a report as indented JSON.
func (e *env) printJSON(report any) error {
	encoder := json.NewEncoder(e.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

// progress reports a transfer where a person looks: drawn on stderr if that is a terminal, else in lines
// on stdout, unless that carries JSON.
func (e *env) progress(label, format string) *progress.Progress {
	switch {
	case isTerminal(e.stderr):
		e.drawn = progress.New(e.stderr, true, label, 0)
		return e.drawn
	case format == outputJSON:
		return nil
	}
	return progress.New(e.stdout, false, label, 0)
}

// isTerminal says whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// passwordVariable has the password of private keys, as for cosign.
const passwordVariable = "COSIGN_PASSWORD"

// password is the password of a private key: that in passwordFile unless it is "", the environment's, or what is typed at the
// terminal, twice if it is a new one.
func (e *env) password(file, passwordFile string, isNew bool) ([]byte, error) {
	if passwordFile != "" {
		return readPasswordFile(passwordFile)
	}
	if value, ok := e.getenv(passwordVariable); ok {
		return []byte(value), nil
	}
	if !isTerminal(e.stdin) {
		return nil, withHint(&usageError{fmt.Errorf("no password for %s, and no terminal to ask at", file)},
			"set %s in the environment, or give --password-file", passwordVariable)
	}
	first, err := e.readPassword(fmt.Sprintf("Password for %s: ", file))
	if err != nil || !isNew {
		return first, err
	}
	second, err := e.readPassword("The same again: ")
	if err == nil && string(first) != string(second) {
		err = &usageError{fmt.Errorf("the two passwords differ")}
	}
	return first, err
}

func (e *env) readPassword(prompt string) ([]byte, error) {
	fmt.Fprint(e.stderr, prompt)
	defer fmt.Fprintln(e.stderr)
	return term.ReadPassword(int(e.stdin.(*os.File).Fd()))
}

// printer writes lines and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

// lines writes a text unless it is empty.
func (p *printer) lines(text string) {
	if text != "" {
		p.line("%s", text)
	}
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
