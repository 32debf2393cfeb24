// Package vm tests what this machine cannot be: other processors, and later whole machines.
// `make test-vm` builds what it needs and runs it.
package vm
