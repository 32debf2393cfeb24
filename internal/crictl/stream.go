package crictl

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubectl/pkg/util/term"
)

// ExitStatus is the error of a command in a container that ended with a status other than 0.
type ExitStatus int

func (e ExitStatus) Error() string { return fmt.Sprintf("the command ended with status %d", int(e)) }

// ExitStatus is the status, for the caller's own.
func (e ExitStatus) ExitStatus() int { return int(e) }

// ExecSync runs a command in a container, waits for it and prints what it has printed. timeout 0 is none. The error is
// [ExitStatus] if the command failed.
func (c *Client) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) error {
	stdout, stderr, err := c.runtime.ExecSync(ctx, id, command, timeout)
	if _, err := c.Out.Write(stdout); err != nil {
		return err
	}
	if _, err := c.Err.Write(stderr); err != nil {
		return err
	}
	return exitStatus(err)
}

// Exec runs a command in a container with its streams connected to the client's.
func (c *Client) Exec(ctx context.Context, id string, command []string, stdin, tty bool) error {
	response, err := c.runtime.Exec(ctx, &runtime.ExecRequest{
		ContainerId: id, Cmd: command, Tty: tty, Stdin: stdin, Stdout: true, Stderr: !tty,
	})
	if err != nil {
		return err
	}
	return c.stream(ctx, response.GetUrl(), stdin, tty)
}

// Attach connects the client's streams to a container's first process.
func (c *Client) Attach(ctx context.Context, id string, stdin, tty bool) error {
	response, err := c.runtime.Attach(ctx, &runtime.AttachRequest{
		ContainerId: id, Tty: tty, Stdin: stdin, Stdout: true, Stderr: !tty,
	})
	if err != nil {
		return err
	}
	return c.stream(ctx, response.GetUrl(), stdin, tty)
}

// stream connects the streams at the URL that the runtime gave.
func (c *Client) stream(ctx context.Context, address string, stdin, tty bool) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the runtime's streaming address: %w", err)
	}
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, http.MethodPost, u)
	if err != nil {
		return err
	}
	options := remotecommand.StreamOptions{Stdout: c.Out, Stderr: c.Err, Tty: tty}
	if stdin {
		options.Stdin = c.In
	}
	if !tty {
		return exitStatus(executor.StreamWithContext(ctx, options))
	}
	options.Stderr = nil // a terminal has one stream
	terminal := term.TTY{In: c.In, Out: c.Out, Raw: stdin}
	if size := terminal.MonitorSize(terminal.GetSize()); size != nil {
		options.TerminalSizeQueue = sizes{size}
	}
	return exitStatus(terminal.Safe(func() error { return executor.StreamWithContext(ctx, options) }))
}

// sizes is the terminal's size as remotecommand wants it.
type sizes struct{ term.TerminalSizeQueue }

func (s sizes) Next() *remotecommand.TerminalSize {
	next := s.TerminalSizeQueue.Next()
	if next == nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: next.Width, Height: next.Height}
}

// exitStatus turns the several errors that say so into [ExitStatus].
func exitStatus(err error) error {
	if status, ok := err.(interface{ ExitStatus() int }); ok {
		return ExitStatus(status.ExitStatus())
	}
	return err
}

// PortForward listens on loopback for "local:remote" ports of a pod until ctx is done.
func (c *Client) PortForward(ctx context.Context, pod string, ports []string) error {
	response, err := c.runtime.PortForward(ctx, &runtime.PortForwardRequest{PodSandboxId: pod})
	if err != nil {
		return err
	}
	u, err := url.Parse(response.GetUrl())
	if err != nil {
		return fmt.Errorf("the runtime's streaming address: %w", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		return err
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	forwarder, err := portforward.New(dialer, ports, ctx.Done(), make(chan struct{}), c.Out, c.Err)
	if err != nil {
		return err
	}
	return forwarder.ForwardPorts()
}
