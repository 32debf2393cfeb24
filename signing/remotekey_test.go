package signing

import (
	"errors"
	"strings"
	"testing"
)

// TestRemoteKey signs with a key that is kept elsewhere: its signatures are good like others, and a keeper that errs is found out.
func TestRemoteKey(t *testing.T) {
	key := newKey(t)
	policy := Policy{Keys: []PublicKey{key.Public()}, Threshold: 1}
	remote := NewRemoteKey(key.Public(), key.signMessage)
	if _, err := policy.Verify(message, []Signature{mustSign(t, remote, message)}); err != nil {
		t.Error(err)
	}
	envelope := &Envelope{PayloadType: "text/plain", Payload: message}
	if err := envelope.Sign(remote); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.VerifyEnvelope(envelope); err != nil {
		t.Error(err)
	}
	away := errors.New("the token is not in its slot")
	for name, test := range map[string]struct {
		sign func([]byte) ([]byte, error)
		want string
	}{
		"fails":                {func([]byte) ([]byte, error) { return nil, away }, away.Error()},
		"signs something":      {func(message []byte) ([]byte, error) { return key.signMessage(message[1:]) }, "not by this key"},
		"has another key":      {newKey(t).signMessage, "not by this key"},
		"answers with nothing": {func([]byte) ([]byte, error) { return nil, nil }, "not by this key"},
	} {
		broken := NewRemoteKey(key.Public(), test.sign)
		if _, err := broken.Sign(message); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("a keeper that %s: %v", name, err)
		}
		if err := (&Envelope{PayloadType: "text/plain", Payload: message}).Sign(broken); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("an envelope, and a keeper that %s: %v", name, err)
		}
	}
}
