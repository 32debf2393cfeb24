// Command airgap makes signed bundles of a Kubernetes distribution, images and charts, and installs
// them on machines that have no network.
//
// This folder is the only place for flags, environment, exit codes and os.Exit: a file per
// verb, and what they share in root.go, exit.go and terminal.go. Verbs that need Kubernetes are left
// out by the build tag desk, which makes the packager's half of the tool: it builds in
// seconds, and the scripts in testdata/script run against it. Both are shipped: see package program.
package main

import "os"

func main() { os.Exit(run(os.Args)) }
