package datastore

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"net"
	"os"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// emulatedVersion is the version of etcd that kine says it is: at least 3.4.25, so that the API server asks
	// for watch progress.
	emulatedVersion = "3.6.11"

	// notifyInterval is how often a watch without events learns the current revision: each of some ninety kinds has a watch, and
	// what it learns is decoded and dispatched like an event. Nobody waits for it: whoever needs a watch cache at the current
	// revision asks for it (etcd's RequestProgress).
	notifyInterval = 30 * time.Second

	// maxRequestBytes is etcd's own limit, 1.5 MiB, and what GRPC adds.
	maxRequestBytes = 2 << 20

	// stopPatience is how long requests may take to end when the datastore stops.
	stopPatience = 2 * time.Second
)

// serve starts the backend and serves etcd's protocol on a unix socket that root alone can use. stop ends the
// serving and returns when the last request has; the backend lives until ctx is done.
func serve(ctx context.Context, backend server.Backend, socket string) (stop func(), err error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := backend.Start(ctx); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	// etcd's own settings (server/embed).
	s := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
		grpc.MaxConcurrentStreams(math.MaxUint32),
		// The API server has a connection for each kind of object, most of which rest.
		grpc.ReadBufferSize(4<<10),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
	)
	server.New(backend, "unix", notifyInterval, emulatedVersion).Register(s)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(listener) // ends when it is stopped
	}()
	return func() {
		defer time.AfterFunc(stopPatience, s.Stop).Stop()
		s.GracefulStop()
		<-ended
	}, nil
}
