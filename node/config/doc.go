// Package config is what a node is told: plain structs with their defaults, where
// each file of a node lies, and the checks that need nothing but the values.
//
// A [Server] is an [Agent] with a control plane. Flags, environment and the YAML
// configuration file fill the same fields (the mapping is in cmd/airgap); the
// names and the defaults are K3s' where K3s has the same thing.
//
// The package imports nothing of airgap's, so that the installer and the node can share it
// without knowing each other.
package config
