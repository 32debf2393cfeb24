// Package admission is the word between the CNI plugin airgap-policy and the agent of its node: the
// plugin tells of each pod's new network and waits, before any of the pod's containers starts, until the
// agent has its policies in the kernel.
//
// One connection to a unix socket carries one request and one answer, both JSON on a line. The package is
// the plugin's as well as the agent's, so it links nothing of Kubernetes.
package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"time"
)

// Patience bounds a request. What it fails, the kubelet tries again.
const Patience = 10 * time.Second

// Sandbox is the network of a pod of this node, as the CNI plugins made it.
type Sandbox struct {
	ID        string       `json:"id"`        // the sandbox's container ID
	Namespace string       `json:"namespace"` // the pod's
	Name      string       `json:"name"`
	UID       string       `json:"uid"` // as the kubelet knows it: a static pod's is not the API's
	Addresses []netip.Addr `json:"addresses"`
}

// Handler is the agent's side.
type Handler interface {
	// Admit returns when what isolates the pod is in the kernel.
	Admit(ctx context.Context, sandbox Sandbox) error
	// Forget says that the sandbox with this ID has no network any more.
	Forget(ctx context.Context, id string) error
}

// request has one of the two.
type request struct {
	Admit  *Sandbox `json:"admit,omitempty"`
	Forget string   `json:"forget,omitempty"`
}

type answer struct {
	Error string `json:"error,omitempty"`
}

// Admit asks the agent at socket to put the pod's policies in place.
func Admit(socket string, sandbox Sandbox) error { return send(socket, request{Admit: &sandbox}) }

// Forget tells the agent at socket that a sandbox has no network any more.
func Forget(socket, id string) error { return send(socket, request{Forget: id}) }

func send(socket string, r request) error {
	conn, err := net.DialTimeout("unix", socket, Patience)
	if err != nil {
		return fmt.Errorf("the node's agent does not answer: %w", err)
	}
	defer conn.Close()
	// The agent gives up first, with a reason.
	if err := conn.SetDeadline(time.Now().Add(Patience + 2*time.Second)); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return fmt.Errorf("the node's agent, at %s: %w", socket, err)
	}
	var a answer
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return fmt.Errorf("the node's agent, at %s: %w", socket, err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

// Serve answers at socket, for root alone, until ctx is done.
func Serve(ctx context.Context, socket string, handler Handler) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	// The next agent removes the socket; a plugin that finds it meanwhile is told that nobody answers.
	listener.SetUnlinkOnClose(false)
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	if err := os.Chmod(socket, 0o600); err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		go serve(ctx, conn, handler)
	}
}

func serve(ctx context.Context, conn net.Conn, handler Handler) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if err := conn.SetDeadline(time.Now().Add(Patience + time.Second)); err != nil {
		return
	}
	var r request
	err := json.NewDecoder(conn).Decode(&r)
	switch {
	case err != nil:
	case r.Admit != nil:
		err = handler.Admit(ctx, *r.Admit)
	case r.Forget != "":
		err = handler.Forget(ctx, r.Forget)
	default:
		err = errors.New("empty request")
	}
	var a answer
	if err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(a) // the plugin may have given up
}
