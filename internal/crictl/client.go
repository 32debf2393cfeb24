package crictl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/status"
	criapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-client/pkg"
)

// Streams are where a verb reads and prints.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Client is a connection to a runtime.
type Client struct {
	Streams
	runtime criapi.RuntimeService
	images  criapi.ImageManagerService
	now     func() time.Time
}

// Connect connects to the runtime at a socket, "unix:///run/airgap/containerd.sock" or a path. timeout bounds
// the connection, and each call that is not a stream.
func Connect(ctx context.Context, endpoint string, timeout time.Duration, s Streams) (*Client, error) {
	path := strings.TrimPrefix(endpoint, "unix://")
	// gRPC would try until the time is up, and then not say why.
	conn, err := net.DialTimeout("unix", path, timeout)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no container runtime at %s: the node does not run, or is another one (--runtime-endpoint)", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s is for root alone: use sudo", path)
	case err != nil:
		return nil, err
	}
	conn.Close()
	endpoint = "unix://" + path
	runtime, err := cri.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(timeout).Build(ctx)
	if err != nil {
		return nil, err
	}
	images, err := cri.NewRemoteImageServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(timeout).Build(ctx)
	if err != nil {
		return nil, errors.Join(err, runtime.Close(ctx))
	}
	return &Client{Streams: s, runtime: runtime, images: images, now: time.Now}, nil
}

// Close ends the connection.
func (c *Client) Close(ctx context.Context) error {
	return errors.Join(c.runtime.Close(ctx), c.images.Close(ctx))
}

// forEach does something with each of several objects, and goes on after a failure.
func forEach(ids []string, do func(id string) error) error {
	var errs []error
	for _, id := range ids {
		if err := do(id); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, WithoutCode(err)))
		}
	}
	return errors.Join(errs...)
}

// WithoutCode is an error of the runtime as it says it, without gRPC's words around it.
func WithoutCode(err error) error {
	if s, ok := status.FromError(err); ok && err != nil {
		return errors.New(s.Message())
	}
	return err
}
