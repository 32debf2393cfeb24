// Package ext is what Traefik's module needs to compile and does not carry: its own go.mod puts a folder
// of its repository in this module's place, and a folder with a go.mod is left out of a module's archive.
// Upstream's types are empty as well; they are where its other products add fields to the configuration.
package ext

// HTTP extends the configuration of HTTP.
type HTTP struct{}

// Router extends the configuration of one router.
type Router struct{}
