package encryption

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// File is the API server's --encryption-provider-config.
func File(p config.Paths) string { return filepath.Join(p.Cred(), "encryption-config.yaml") }

// keyBytes is the size of a secretbox key.
const keyBytes = 32

// document is an EncryptionConfiguration of the one form that this package writes.
type document struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Resources  []resource `json:"resources"`
}

type resource struct {
	Resources []string   `json:"resources"`
	Providers []provider `json:"providers"`
}

type provider struct {
	Secretbox *secretbox `json:"secretbox,omitempty"`
	Identity  *struct{}  `json:"identity,omitempty"`
}

type secretbox struct {
	Keys []key `json:"keys"`
}

type key struct {
	Name   string `json:"name"`
	Secret string `json:"secret"` // base64 of keyBytes
}

// hash names a key without telling it.
func (k key) hash() string {
	sum := sha256.Sum256([]byte(k.Secret))
	return hex.EncodeToString(sum[:6])
}

// number orders keys by their age: key1, key2 …
func (k key) number() int {
	n, err := strconv.Atoi(strings.TrimPrefix(k.Name, "key"))
	if err != nil {
		return 0
	}
	return n
}

// state is what the file says: the keys in their order, and whether the first encrypts.
type state struct {
	keys    []key
	enabled bool
}

// Ensure makes the file with a new key if there is none.
func Ensure(file string, enabled bool) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	first, err := newKey(1)
	if err != nil {
		return err
	}
	return state{keys: []key{first}, enabled: enabled}.write(file)
}

func newKey(number int) (key, error) {
	secret := make([]byte, keyBytes)
	if _, err := rand.Read(secret); err != nil {
		return key{}, err
	}
	return key{Name: "key" + strconv.Itoa(number), Secret: base64.StdEncoding.EncodeToString(secret)}, nil
}

func (s state) write(file string) error {
	encrypts, plain := provider{Secretbox: &secretbox{Keys: s.keys}}, provider{Identity: &struct{}{}}
	providers := []provider{encrypts, plain}
	if !s.enabled {
		providers = []provider{plain, encrypts}
	}
	data, err := yaml.Marshal(document{
		APIVersion: "apiserver.config.k8s.io/v1", Kind: "EncryptionConfiguration",
		Resources: []resource{{Resources: []string{"secrets"}, Providers: providers}},
	})
	if err != nil {
		return err
	}
	return atomicfile.Write(file, data, 0o600)
}

// read reads the file. One that somebody has made otherwise is an error: it is not ours to change.
func read(file string) (state, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return state{}, err
	}
	foreign := func(what string) error {
		return fmt.Errorf("%s: %s; a file that was made by hand is changed by hand", file, what)
	}
	var d document
	if err := yaml.UnmarshalStrict(data, &d); err != nil {
		return state{}, foreign(err.Error())
	}
	if len(d.Resources) != 1 || !bytes.Equal([]byte(strings.Join(d.Resources[0].Resources, ",")), []byte("secrets")) || len(d.Resources[0].Providers) != 2 {
		return state{}, foreign("want one entry, for secrets, with a secretbox and an identity provider")
	}
	first, second := d.Resources[0].Providers[0], d.Resources[0].Providers[1]
	s := state{enabled: first.Secretbox != nil}
	box := first
	if !s.enabled {
		box, second = second, first
	}
	if box.Secretbox == nil || second.Identity == nil || len(box.Secretbox.Keys) < 1 || len(box.Secretbox.Keys) > 2 {
		return state{}, foreign("want a secretbox provider with one or two keys, and the identity provider")
	}
	s.keys = box.Secretbox.Keys
	for _, k := range s.keys {
		if secret, err := base64.StdEncoding.DecodeString(k.Secret); err != nil || len(secret) != keyBytes || k.number() < 1 {
			return state{}, foreign(fmt.Sprintf("key %q is not one of %d bytes named key1, key2 …", k.Name, keyBytes))
		}
	}
	return s, nil
}

// Stage is how far a rotation has come; the names are K3s'.
type Stage string

// The stages.
const (
	StageStart   Stage = "start"   // no rotation is under way
	StagePrepare Stage = "prepare" // there is a new key, which nothing is written with yet
	StageRotate  Stage = "rotate"  // what is written is encrypted with the new key; what is there is being written again
)

func (s state) stage() Stage {
	switch {
	case len(s.keys) == 1:
		return StageStart
	case s.keys[0].number() < s.keys[1].number():
		return StagePrepare
	}
	return StageRotate
}

// prefix is what stands in the datastore in front of a value that the API server would write with s. Plain
// values have none; they are protobuf, see plainPrefix.
func (s state) prefix() []byte {
	if !s.enabled {
		return plainPrefix
	}
	return []byte("k8s:enc:secretbox:v1:" + s.keys[0].Name + ":")
}

// plainPrefix begins a value that is not encrypted (runtime/serializer/protobuf).
var plainPrefix = []byte("k8s\x00")
