package token

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"airgap/internal/atomicfile"
	"airgap/internal/site"
	"airgap/node/config"
)

// ServerFile holds the token that servers and agents join with; 0600.
func ServerFile(p config.Paths) string { return filepath.Join(p.Server(), "token") }

// AgentFile holds the token that agents alone join with; 0600.
func AgentFile(p config.Paths) string { return filepath.Join(p.Server(), "agent-token") }

// ErrDiffers is a token that was given to a server that has another.
var ErrDiffers = errors.New("is not the token that this cluster has")

// Ensure writes the two files: what is there is kept, but for the hash, which follows the authorities
// caPEM; what is not there is what was given, or made. server and agent are texts as they were given, or empty.
func Ensure(p config.Paths, caPEM []byte, server, agent string) error {
	for _, f := range []struct{ file, user, given, flag string }{
		{ServerFile(p), site.UserServer, server, "token"},
		{AgentFile(p), site.UserNode, agent, "agent-token"},
	} {
		if err := ensure(f.file, f.user, f.given, site.HashCA(caPEM)); err != nil {
			return fmt.Errorf("%s: %w", f.flag, err)
		}
	}
	return nil
}

func ensure(file, user, given, hash string) error {
	var want site.Token
	if given != "" {
		var err error
		if want, err = site.ParseToken(given); err != nil {
			return err
		}
		if want.IsBootstrap() {
			return fmt.Errorf("%w: a bootstrap token is kept in the cluster and ends; a server's own token must be another", site.ErrTokenFormat)
		}
	}
	have, err := ReadFile(file)
	switch {
	case err == nil:
		if want.Secret != "" && want.Secret != have.Secret {
			return fmt.Errorf("what was given %w (%s); change it with `airgap token rotate`, or give none", ErrDiffers, file)
		}
	case errors.Is(err, fs.ErrNotExist):
		have.Secret = want.Secret
		if have.Secret == "" {
			if have.Secret, err = site.NewSecret(); err != nil {
				return err
			}
		}
	default:
		return err
	}
	return write(file, site.Token{CAHash: hash, User: user, Secret: have.Secret})
}

func write(file string, t site.Token) error {
	data := []byte(t.Text() + "\n")
	if current, err := os.ReadFile(file); err == nil && string(current) == string(data) {
		return os.Chmod(file, 0o600)
	}
	return atomicfile.Write(file, data, 0o600)
}

// ReadFile reads a token from its file.
func ReadFile(file string) (site.Token, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return site.Token{}, err
	}
	t, err := site.ParseToken(string(data))
	if err != nil {
		return site.Token{}, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// Rotate puts a new secret in the place of the server's token: the one given, or a new one. old must be
// the present one, so that nobody changes the wrong cluster's. Machines that have joined go on; machines that join
// need the new one.
func Rotate(p config.Paths, old, replacement string) (site.Token, error) {
	have, err := ReadFile(ServerFile(p))
	if err != nil {
		return site.Token{}, err
	}
	shown, err := site.ParseToken(old)
	if err != nil {
		return site.Token{}, fmt.Errorf("the present token: %w", err)
	}
	if !shown.Opens(have) {
		return site.Token{}, fmt.Errorf("the present token: what was given %w", ErrDiffers)
	}
	if replacement == "" {
		if have.Secret, err = site.NewSecret(); err != nil {
			return site.Token{}, err
		}
	} else {
		fresh, err := site.ParseToken(replacement)
		if err != nil {
			return site.Token{}, fmt.Errorf("the new token: %w", err)
		}
		if fresh.IsBootstrap() || fresh.CAHash != "" && fresh.CAHash != have.CAHash {
			return site.Token{}, fmt.Errorf("the new token: %w: want a secret of this cluster", site.ErrTokenFormat)
		}
		have.Secret = fresh.Secret
	}
	return have, write(ServerFile(p), have)
}
