package source

import (
	"os"
	"path/filepath"
)

// buildType says how a bundle is made, for SLSA: externalParameters are airgap.yaml and the platforms.
const buildType = "urn:airgap:build:v1"

// provenance is a SLSA provenance predicate: https://slsa.dev/spec/v1.0/provenance. It has no time but the issue time, no name of
// a machine and no path of one, so that whoever builds the same has the same.
type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   externalParameters `json:"externalParameters"`
	InternalParameters   internalParameters `json:"internalParameters"`
	ResolvedDependencies []resource         `json:"resolvedDependencies"`
}

type externalParameters struct {
	Config    resource `json:"config"` // airgap.yaml
	Bundle    string   `json:"bundle"`
	Version   string   `json:"version"`
	Platforms []string `json:"platforms"`
}

type internalParameters struct {
	Kubernetes string `json:"kubernetes,omitempty"` // the version that charts were rendered for
}

type runDetails struct {
	Builder  builder    `json:"builder"`
	Metadata metadata   `json:"metadata"`
	Products []resource `json:"byproducts"` // the lock
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version"`
}

type metadata struct {
	FinishedOn string `json:"finishedOn"` // the issue time
}

// resource is a ResourceDescriptor: https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md.
type resource struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

func newResource(name, digest string) resource {
	return resource{name, map[string]string{"sha256": hexOf(digest)}}
}

// provenance says who makes the bundle, from which configuration, lock and sources.
func (g *Gathered) provenance(o AttestOptions) (*provenance, error) {
	config, err := os.ReadFile(g.spec.path)
	if err != nil {
		return nil, err
	}
	lock, err := g.Lock.encode()
	if err != nil {
		return nil, err
	}
	m := g.Content.Manifest
	p := &provenance{
		BuildDefinition: buildDefinition{
			BuildType: buildType,
			ExternalParameters: externalParameters{
				Config: newResource(filepath.Base(g.spec.path), digestOf(config)), Bundle: m.Name, Version: m.Version, Platforms: m.Platforms,
			},
			InternalParameters:   internalParameters{Kubernetes: g.options.KubernetesVersion},
			ResolvedDependencies: []resource{},
		},
		RunDetails: runDetails{
			Builder:  builder{ID: o.Builder, Version: map[string]string{"airgap": g.options.AirgapVersion}},
			Metadata: metadata{FinishedOn: m.IssuedAt},
			Products: []resource{newResource(filepath.Base(g.spec.LockPath()), digestOf(lock))},
		},
	}
	if o.Builder == "" && len(o.Signers) > 0 {
		p.RunDetails.Builder.ID = "urn:airgap:key:" + o.Signers[0].Public().ID()
	}
	for _, list := range [][]Locked{g.Lock.From, g.Lock.Images, g.Lock.Charts} {
		for _, locked := range list {
			p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, newResource(locked.Source, locked.Digest))
		}
	}
	return p, nil
}
