package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"
)

// servePprof serves Go's profiles of this process on a unix socket in dir until ctx is done:
//
//	curl --unix-socket /run/airgap/server-pprof.sock http://airgap/debug/pprof/heap > heap
//
// The folder lets in nobody but root, and nothing listens on a port.
func servePprof(ctx context.Context, dir, process string) error {
	path := filepath.Join(dir, process+"-pprof.sock")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("pprof: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); err != http.ErrServerClosed {
			klog.ErrorS(err, "pprof has ended", "socket", path)
		}
	}()
	return nil
}
