// Package ecs replaces Traefik's provider for Amazon's container service, whose client alone
// is a fifth of the executable. What is left says so to who configures it.
package ecs

import (
	"errors"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/provider"
	"github.com/traefik/traefik/v3/pkg/safe"
)

// ProviderName is the provider's name in the configuration.
const ProviderName = "ecs"

var errLeftOut = errors.New("this build of Traefik has no provider for Amazon ECS")

// Provider is the provider's configuration.
type Provider struct{}

var _ provider.Provider = (*Provider)(nil)

// Init refuses the configuration.
func (p *Provider) Init() error { return errLeftOut }

// Provide is not reached.
func (p *Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return errLeftOut }
