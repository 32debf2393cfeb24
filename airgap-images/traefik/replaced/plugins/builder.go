// Package plugins has, in the place of the interpreters that Traefik runs plug-ins in, a builder
// that builds none: Traefik fetches plug-ins from the Internet, and the interpreters cost every
// start some tens of megabytes of tables.
package plugins

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/traefik/traefik/v3/pkg/provider"
)

var errLeftOut = errors.New("this build of Traefik runs no plug-ins")

// Constructor creates the handler of a plug-in.
type Constructor func(context.Context, http.Handler) (http.Handler, error)

// Builder builds no plug-in.
type Builder struct{}

// NewBuilder refuses a configuration with plug-ins.
func NewBuilder(_ *Manager, plugins map[string]Descriptor, localPlugins map[string]LocalDescriptor) (*Builder, error) {
	if len(plugins)+len(localPlugins) > 0 {
		return nil, errLeftOut
	}
	return &Builder{}, nil
}

// Build refuses a middleware.
func (Builder) Build(name string, _ map[string]any, _ string) (Constructor, error) {
	return nil, fmt.Errorf("middleware %s: %w", name, errLeftOut)
}

// BuildProvider refuses a provider.
func (Builder) BuildProvider(name string, _ map[string]any) (provider.Provider, error) {
	return nil, fmt.Errorf("provider %s: %w", name, errLeftOut)
}
