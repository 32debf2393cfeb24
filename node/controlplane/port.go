package controlplane

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"airgap/node/config"
)

// CheckPort makes sure that the API server will get its port: Kubernetes only says that the address is in
// use, when all else has been started.
func CheckPort(cfg *config.Server) error {
	l, err := net.Listen("tcp", net.JoinHostPort(cfg.BindAddress, strconv.Itoa(cfg.HTTPSListenPort)))
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("TCP port %d (API server) is taken by another program: stop it, or choose another port with --https-listen-port: %w",
			cfg.HTTPSListenPort, err)
	}
	return fmt.Errorf("TCP port %d (API server): %w", cfg.HTTPSListenPort, err)
}
