package support

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"airgap/node/config"
)

// maxSecretFileBytes bounds what is read of a file to learn its secrets.
const maxSecretFileBytes = 256 << 10

// learnSecrets tells the scrubber every secret that the node keeps on this machine.
func learnSecrets(s *scrubber, p config.Paths) {
	for _, folder := range []string{p.TLS(), p.Cred(), p.AgentPKI()} {
		_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				learnFile(s, path)
			}
			return nil
		})
	}
	for _, name := range []string{"token", "agent-token", "node-token", "password", "passwd"} {
		learnFile(s, filepath.Join(p.Server(), name))
		learnFile(s, filepath.Join(p.Agent(), name))
	}
	learnFile(s, p.Kubeconfig())
	files := []string{p.ConfigFile(), p.PrivateRegistry()}
	drops, _ := filepath.Glob(p.ConfigFile() + ".d/*.yaml") // the pattern is good
	for _, file := range append(files, drops...) {
		learnSettings(s, file)
	}
}

// learnFile learns what a file that holds nothing but secrets has: keys, tokens, kubeconfigs, the encryption
// configuration. Certificates are none.
func learnFile(s *scrubber, path string) {
	data := readBounded(path)
	text := string(data)
	if strings.Contains(text, "-----BEGIN CERTIFICATE-----") && !strings.Contains(text, "PRIVATE KEY") {
		return
	}
	if strings.Contains(text, "PRIVATE KEY") {
		for _, block := range privateKey.FindAllString(text, -1) {
			s.learn(block)
		}
		return
	}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) == nil && len(doc.Content) > 0 && doc.Content[0].Kind == yaml.MappingNode {
		learnNode(s, doc.Content[0], isSecretKey)
		return
	}
	if name := filepath.Base(path); !isSecretKey(name) && filepath.Ext(name) != ".key" {
		return // such as a name
	}
	for line := range strings.Lines(text) {
		s.learn(line)
		for part := range strings.SplitSeq(strings.TrimSpace(line), "::") { // K10<hash>::<user>:<password>
			if _, password, found := strings.Cut(part, ":"); found {
				s.learn(password)
			}
		}
	}
}

// learnSettings learns the secrets of a configuration file among its other settings.
func learnSettings(s *scrubber, path string) {
	var doc yaml.Node
	if yaml.Unmarshal(readBounded(path), &doc) != nil || len(doc.Content) == 0 {
		return
	}
	learnNode(s, doc.Content[0], isSecretKey)
}

// isSecretKey says whether the value of a key of this name is, or holds, a secret.
func isSecretKey(key string) bool {
	key = strings.ToLower(strings.TrimSuffix(key, "+"))
	return !strings.HasSuffix(key, "file") && slices.ContainsFunc([]string{"token", "password", "secret", "auth", "key-data", "endpoint", "-arg", "wireguard"},
		func(part string) bool { return strings.Contains(key, part) })
}

// learnNode learns all values below keys that hold secrets.
func learnNode(s *scrubber, node *yaml.Node, secret func(key string) bool) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i].Value, node.Content[i+1]
			below := secret
			if secret(key) {
				below = func(string) bool { return true }
				if value.Kind == yaml.ScalarNode {
					learnValue(s, key, value.Value)
				} else if value.Kind == yaml.SequenceNode {
					for _, item := range value.Content {
						learnValue(s, key, item.Value)
					}
				}
			}
			// A user's name is no secret, and is in many other words.
			if key != "username" && key != "name" {
				learnNode(s, value, below)
			}
		}
	case yaml.SequenceNode:
		for _, item := range node.Content {
			learnNode(s, item, secret)
		}
	}
}

// learnValue learns one value: of an endpoint its password, of a component's argument what follows the equals sign.
func learnValue(s *scrubber, key, value string) {
	switch {
	case strings.Contains(key, "endpoint"):
		store, _ := config.ParseDatastore(value, config.DatastoreFiles{})
		if store.HasPassword() {
			s.learn(store.Password())
		}
	case strings.Contains(key, "-arg"):
		if name, secret, found := strings.Cut(value, "="); found && isSecretKey(name) {
			s.learn(secret)
		}
	case !strings.HasPrefix(value, "/") && value != "true" && value != "false":
		s.learn(value)
	}
}

func readBounded(path string) []byte {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSecretFileBytes {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return data
}

// plainKeys are keys of Secrets whose values are in many other words, and no secrets.
var plainKeys = []string{"username", "user", "namespace", "ca.crt", "tls.crt", "name", "host", "hostname", "port", "database", "type", "release",
	"token-id", "usage-bootstrap-authentication", "usage-bootstrap-signing", "auth-extra-groups", "description", "expiration"}

// learnCluster learns the values of the cluster's Secrets, which applications may have written into their logs.
// They come from the API server, if it answers, and go nowhere.
func learnCluster(ctx context.Context, s *scrubber, o *Options) error {
	out, err := o.run(ctx, o.Executable, "kubectl", "get", "secrets", "--all-namespaces", "--output", "json", "--request-timeout", apiTimeout,
		"--field-selector", "type!=helm.sh/release.v1")
	if err != nil {
		return err
	}
	var list struct {
		Items []struct {
			Data map[string][]byte `json:"data"`
		} `json:"items"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return err
	}
	for _, secret := range list.Items {
		for key, value := range secret.Data {
			if !slices.Contains(plainKeys, strings.ToLower(key)) && len(value) <= maxSecretFileBytes {
				s.learn(string(value))
			}
		}
	}
	return nil
}
