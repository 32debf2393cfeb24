// Package controlplane runs the control plane of a server in this process: the
// datastore, the API server, the scheduler, the controller manager, and what airgap adds
// to them, the deployer of add-ons and the Helm controller.
//
// Upstream's components are called by their exported Run functions, with the options
// that their own flags would give; they are not forked. They share one process, so they
// share its feature gates, its logging and its metrics registry: the API server's
// /metrics carries the scheduler's and the controllers' too, and those two have no port
// of their own. A component that fails ends the process, and whoever started it
// starts it again: nothing is restarted inside.
//
//	prepare:  certificates → kubeconfigs → encryption key      (files under server/)
//	run:      datastore → API server → ready → scheduler, controller manager, add-ons
//	stop:     scheduler, controllers, add-ons → API server → datastore
package controlplane
