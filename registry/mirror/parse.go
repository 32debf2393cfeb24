package mirror

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// parser collects every mistake of a file.
type parser struct {
	file string
	errs []error
}

// field reads the value of one key.
type field func(value *yaml.Node)

// Parse reads a registries.yaml; file is its name in errors.
func Parse(file string, data []byte) (*Registries, error) {
	r := &Registries{mirrors: map[string]mirrorOf{}, access: map[string]access{}}
	p := &parser{file: file}
	var doc, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return r, nil // empty, or comments only
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: want one document", file)
	}
	p.fields(doc.Content[0], "the file", map[string]field{
		"mirrors": func(v *yaml.Node) {
			p.entries(v, "mirrors", func(name string, v *yaml.Node) { r.mirrors[name] = p.mirror(v) })
		},
		"configs": func(v *yaml.Node) {
			p.entries(v, "configs", func(name string, v *yaml.Node) { r.access[name] = p.access(v) })
		},
	})
	return r, errors.Join(p.errs...)
}

func (p *parser) add(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.file, n.Line, fmt.Sprintf(format, args...)))
}

// entries calls visit with each key and value of a mapping. Nothing at all is an empty one.
func (p *parser) entries(n *yaml.Node, what string, visit func(key string, value *yaml.Node)) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.add(n, "%s: want a mapping", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			p.add(key, "%q is there twice", key.Value)
		}
		seen[key.Value] = true
		visit(key.Value, n.Content[i+1])
	}
}

// fields is entries for a mapping whose keys are known.
func (p *parser) fields(n *yaml.Node, what string, known map[string]field) {
	p.entries(n, what, func(key string, value *yaml.Node) {
		if read, ok := known[key]; ok {
			read(value)
			return
		}
		var names []string
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		p.add(value, "unknown key %q; %s has %s", key, what, strings.Join(names, ", "))
	})
}

func (p *parser) mirror(n *yaml.Node) (m mirrorOf) {
	p.fields(n, "a mirror", map[string]field{
		"endpoint": func(v *yaml.Node) {
			if v.Kind != yaml.SequenceNode {
				p.add(v, "endpoint: want a list of URLs")
				return
			}
			for _, item := range v.Content {
				u, err := apiRoot(item.Value)
				if err != nil {
					p.add(item, "endpoint: %v", err)
					continue
				}
				m.endpoints = append(m.endpoints, u)
			}
		},
		"rewrite": func(v *yaml.Node) {
			p.entries(v, "rewrite", func(pattern string, v *yaml.Node) {
				compiled, err := regexp.Compile(pattern)
				if err != nil {
					p.add(v, "rewrite: %v", err)
					return
				}
				m.rewrites = append(m.rewrites, rewrite{compiled, p.text(v, "rewrite")})
			})
		},
	})
	return m
}

func (p *parser) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.add(n, "%s: want a text", what)
		return ""
	}
	return n.Value
}

func (p *parser) access(n *yaml.Node) (a access) {
	p.fields(n, "a config", map[string]field{
		"auth": func(v *yaml.Node) { a.auth = p.auth(v) },
		"tls":  func(v *yaml.Node) { a.tls = p.tls(v) },
	})
	return a
}

func (p *parser) auth(n *yaml.Node) *credentials {
	var username, password, auth, token string
	read := func(into *string, key string) field {
		return func(v *yaml.Node) { *into = p.text(v, key) }
	}
	p.fields(n, "auth", map[string]field{
		"username": read(&username, "username"), "password": read(&password, "password"),
		"auth": read(&auth, "auth"), "identity_token": read(&token, "identity_token"),
	})
	switch {
	case username != "":
		return &credentials{username, password}
	case token != "":
		return &credentials{"", token}
	case auth != "":
		decoded, err := base64.StdEncoding.DecodeString(auth)
		username, password, ok := strings.Cut(string(decoded), ":")
		if err != nil || !ok {
			p.add(n, "auth: want the base64 of <username>:<password>")
		}
		return &credentials{username, password}
	case password != "":
		p.add(n, "auth: a password needs a username")
	}
	return nil
}

func (p *parser) tls(n *yaml.Node) *tls.Config {
	var ca, cert, key string
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	read := func(into *string, name string) field {
		return func(v *yaml.Node) { *into = p.text(v, name) }
	}
	p.fields(n, "tls", map[string]field{
		"ca_file": read(&ca, "ca_file"), "cert_file": read(&cert, "cert_file"), "key_file": read(&key, "key_file"),
		"insecure_skip_verify": func(v *yaml.Node) {
			skip, err := strconv.ParseBool(v.Value)
			if err != nil {
				p.add(v, "insecure_skip_verify: want true or false")
			}
			config.InsecureSkipVerify = skip
		},
	})
	if ca != "" {
		// Beside the host's own authorities, as containerd has it.
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		data, err := os.ReadFile(ca)
		if err != nil {
			p.add(n, "ca_file: %v", err)
		} else if !pool.AppendCertsFromPEM(data) {
			p.add(n, "ca_file: %s has no certificate in PEM", ca)
		}
		config.RootCAs = pool
	}
	switch {
	case (cert == "") != (key == ""):
		p.add(n, "tls: cert_file and key_file belong together")
	case cert != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			p.add(n, "cert_file: %v", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}
