package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Tokens are what other machines join with, or where to read them. Both empty: what the server has, or a new one.
type Tokens struct {
	Token          string `json:"-"`
	TokenFile      string
	AgentToken     string `json:"-"`
	AgentTokenFile string
}

// ReadTokens fills in the tokens that are given by files.
func (t *Tokens) ReadTokens() error {
	return errors.Join(
		readToken("token", &t.Token, t.TokenFile),
		readToken("agent-token", &t.AgentToken, t.AgentTokenFile),
	)
}

func readToken(flag string, value *string, file string) error {
	switch {
	case file == "":
		return nil
	case *value != "":
		return fmt.Errorf("%s and %s-file: give one of them", flag, flag)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%s-file: %w", flag, err)
	}
	if *value = strings.TrimSpace(string(data)); *value == "" {
		return fmt.Errorf("%s-file: %s is empty", flag, file)
	}
	return nil
}

// String hides the tokens from whoever prints a configuration.
func (t Tokens) String() string { return "tokens" }

// GoString does the same for %#v.
func (t Tokens) GoString() string { return t.String() }
