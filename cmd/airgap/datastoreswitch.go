package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"gopkg.in/yaml.v3"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// switchDatastore makes a configuration file name another datastore, and keeps the rest of it.
func switchDatastore(file string, to config.Datastore) error {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	endpoint := to.Endpoint()
	if to.Kind == config.SQLite {
		endpoint = ""
	}
	top := doc.Content[0]
	for _, setting := range []struct{ key, value string }{
		{flagEndpoint, endpoint}, {"datastore-cafile", to.CAFile}, {"datastore-certfile", to.CertFile}, {"datastore-keyfile", to.KeyFile},
	} {
		for i := 0; i+1 < len(top.Content); i += 2 {
			if top.Content[i].Value == setting.key {
				top.Content = append(top.Content[:i:i], top.Content[i+2:]...)
				break
			}
		}
		if setting.value != "" {
			top.Content = append(top.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: setting.key}, &yaml.Node{Kind: yaml.ScalarNode, Value: setting.value})
		}
	}
	if len(top.Content) == 0 {
		return atomicfile.Write(file, nil, 0o600)
	}
	if data, err = yaml.Marshal(&doc); err != nil {
		return err
	}
	return atomicfile.Write(file, data, 0o600)
}
