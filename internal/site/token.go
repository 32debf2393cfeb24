package site

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Who a token makes.
const (
	UserServer = "server" // may join as anything
	UserNode   = "node"   // may join as an agent
)

const (
	tokenVersion = "K10"
	// secretBytes of randomness are in a secret that this package makes.
	secretBytes = 16
	// maxTokenBytes bounds a token that is parsed.
	maxTokenBytes = 1024
)

// Token is what lets a machine join a cluster, parsed: a shared secret of the cluster, or a short-lived one kept
// in it. It is written as K3s writes it:
//
//	K10<sha256 of the cluster's authorities, 64 hex digits>::<user>:<secret>   joins as "server" or "node"
//	K10<…>::<6 characters>.<16 characters>                                     a bootstrap token, as kubeadm's
//	<secret>                                                                   without the hash
//	<6 characters>.<16 characters>
//
// A token without the hash trusts the first that answers; airgap makes none.
type Token struct {
	CAHash string // 64 lower-case hex digits, or empty
	User   string // UserServer, UserNode, or a bootstrap token's ID
	Secret string
}

// bootstrapToken is Kubernetes' own pattern (cluster-bootstrap, BootstrapTokenPattern).
var bootstrapToken = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)

// ErrOtherCluster says that a token is not of the cluster that answers.
var ErrOtherCluster = errors.New("this is another cluster, or somebody in between")

// ErrTokenFormat is what ParseToken refuses.
var ErrTokenFormat = errors.New("no token")

// ParseToken reads a token. A secret alone gets no user: it is the server's business whose it is.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	bad := func(why string) (Token, error) { return Token{}, fmt.Errorf("%w: %s", ErrTokenFormat, why) }
	switch {
	case text == "":
		return bad("it is empty")
	case len(text) > maxTokenBytes:
		return bad(fmt.Sprintf("it is longer than %d bytes", maxTokenBytes))
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return bad("it has characters other than printable ASCII")
	}
	var t Token
	credentials := text
	if rest, ok := strings.CutPrefix(text, tokenVersion); ok {
		hash, after, found := strings.Cut(rest, "::")
		if found {
			if raw, err := hex.DecodeString(hash); err != nil || len(raw) != sha256.Size || hash != strings.ToLower(hash) {
				return bad("between K10 and :: there must be the 64 hex digits of the authorities' sha256")
			}
			t.CAHash, credentials = hash, after
		}
	}
	if bootstrapToken.MatchString(credentials) {
		t.User, t.Secret, _ = strings.Cut(credentials, ".")
		return t, nil
	}
	if t.CAHash == "" {
		t.Secret = credentials
		return t, nil
	}
	user, secret, found := strings.Cut(credentials, ":")
	switch {
	case !found:
		return bad("after :: there must be a user and a secret, or a bootstrap token")
	case user != UserServer && user != UserNode:
		return bad(fmt.Sprintf("nobody joins as %q", user))
	case secret == "":
		return bad("its secret is empty")
	}
	t.User, t.Secret = user, secret
	return t, nil
}

// IsBootstrap says whether t is a bootstrap token.
func (t Token) IsBootstrap() bool {
	return bootstrapToken.MatchString(t.User + "." + t.Secret)
}

// Text is the token as it is handed to people.
func (t Token) Text() string {
	credentials := t.User + ":" + t.Secret
	if t.IsBootstrap() {
		credentials = t.User + "." + t.Secret
	}
	if t.CAHash == "" {
		return credentials
	}
	return tokenVersion + t.CAHash + "::" + credentials
}

// String hides the secret: tokens end up in logs by being printed with what holds them.
func (t Token) String() string { return "token of " + t.User }

// GoString does the same for %#v.
func (t Token) GoString() string { return t.String() }

// Opens says whether t, shown by somebody, is the token want: the same secret, for the same user where t
// names one. It takes the same time wherever two secrets differ.
func (t Token) Opens(want Token) bool {
	return want.Secret != "" && subtle.ConstantTimeCompare([]byte(t.Secret), []byte(want.Secret)) == 1 &&
		(t.User == "" || t.User == want.User)
}

// VerifyCA says whether authorities, as PEM, are those of the token. A token without a hash accepts any.
func (t Token) VerifyCA(pem []byte) error {
	if got := HashCA(pem); t.CAHash != "" && got != t.CAHash {
		return fmt.Errorf("the cluster's authorities have the sha256 %s, the token says %s: %w", got, t.CAHash, ErrOtherCluster)
	}
	return nil
}

// HashCA is the hash of authorities for a token.
func HashCA(pem []byte) string {
	sum := sha256.Sum256(pem)
	return hex.EncodeToString(sum[:])
}

// NewSecret makes the secret of a token, of 128 bits.
func NewSecret() (string, error) {
	raw := make([]byte, secretBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	return hex.EncodeToString(raw), nil
}
