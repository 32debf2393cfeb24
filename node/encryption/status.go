package encryption

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"

	"crypto/sha256"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Status is how the secrets of a cluster are kept.
type Status struct {
	Enabled bool   `json:"enabled"` // what is written is encrypted
	Stage   Stage  `json:"stage"`
	Keys    []Key  `json:"keys"`   // in the order of the file
	Loaded  bool   `json:"loaded"` // the API server works by the file as it is
	Hash    string `json:"hash"`   // sha256 of the file, as the API server's metrics have it
	Secrets Count  `json:"secrets"`
}

// Key is a key in the file, without its secret.
type Key struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Hash   string `json:"hash"` // 12 hex digits that tell keys apart
	Active bool   `json:"active"`
}

// Count is what the datastore really holds.
type Count struct {
	Total   int      `json:"total"`
	Current int      `json:"current"` // stored as the active key, or none if encryption is off, would store them
	Others  []string `json:"others"`  // namespace/name of those that are not
}

// Complete says whether every secret is stored as the file says.
func (s *Status) Complete() bool {
	return s.Stage == StageStart && s.Loaded && len(s.Secrets.Others) == 0
}

// Server is a running API server and the datastore behind it.
type Server interface {
	// Hashes returns the sha256, as "sha256:<hex>", of the encryption configuration that each API server works by.
	Hashes(ctx context.Context) ([]string, error)
	// Rewrite reads every secret and writes it as it is.
	Rewrite(ctx context.Context) error
}

// ReadStatus reads the file, asks the API server which one it has loaded, and looks at the raw values
// of the secrets in the datastore.
func ReadStatus(ctx context.Context, file string, server Server, store *clientv3.Client) (*Status, error) {
	s, err := read(file)
	if err != nil {
		return nil, err
	}
	status := &Status{Enabled: s.enabled, Stage: s.stage()}
	for i, k := range s.keys {
		status.Keys = append(status.Keys, Key{Name: k.Name, Type: "secretbox", Hash: k.hash(), Active: i == 0 && s.enabled})
	}
	if status.Hash, err = hashOf(file); err != nil {
		return nil, err
	}
	if status.Loaded, err = loaded(ctx, server, status.Hash); err != nil {
		return nil, err
	}
	status.Secrets, err = count(ctx, store, s.prefix())
	return status, err
}

func hashOf(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data)), nil
}

func loaded(ctx context.Context, server Server, hash string) (bool, error) {
	hashes, err := server.Hashes(ctx)
	if err != nil {
		return false, fmt.Errorf("ask the API server for its encryption configuration: %w", err)
	}
	return len(hashes) > 0 && !slices.ContainsFunc(hashes, func(h string) bool { return h != hash }), nil
}

// secretsPrefix is where the API server keeps secrets.
const secretsPrefix = "/registry/secrets/"

// pageSize bounds how many secrets, each up to a megabyte, are in memory at once.
const pageSize = 100

// count looks at every secret's first bytes in the datastore.
func count(ctx context.Context, store *clientv3.Client, prefix []byte) (Count, error) {
	c := Count{Others: []string{}}
	end := clientv3.GetPrefixRangeEnd(secretsPrefix)
	for from := secretsPrefix; ; {
		page, err := store.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize))
		if err != nil {
			return c, fmt.Errorf("read the secrets in the datastore: %w", err)
		}
		for _, kv := range page.Kvs {
			c.Total++
			if bytes.HasPrefix(kv.Value, prefix) {
				c.Current++
			} else {
				c.Others = append(c.Others, string(kv.Key[len(secretsPrefix):]))
			}
		}
		if !page.More || len(page.Kvs) == 0 {
			return c, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}
