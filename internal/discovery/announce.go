package discovery

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"airgap/internal/hostinfo"
)

var groups = map[string]*net.UDPAddr{
	"udp4": {IP: net.IPv4(224, 0, 0, 251), Port: port},
	"udp6": {IP: net.ParseIP("ff02::fb"), Port: port},
}

// interfaceCheck is how often a server looks for interfaces that have come or changed.
const interfaceCheck = 30 * time.Second

// Announce answers who asks for servers, on every interface that is up and can multicast, until ctx is done. Which
// interfaces there are is looked at again and again. The log is told what goes wrong on one of them.
func Announce(ctx context.Context, s Server, log func(error)) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("announce the server: %w", err)
	}
	type key struct {
		index   int
		network string
	}
	var mu sync.Mutex
	open := map[key]*net.UDPConn{}
	var running sync.WaitGroup
	defer running.Wait()
	defer context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			conn.Close()
		}
	})()
	told := map[string]bool{}
	for {
		list, err := multicastInterfaces()
		if err != nil {
			return err
		}
		for _, i := range list {
			for network, group := range groups {
				k := key{i.Index, network}
				mu.Lock()
				if open[k] != nil || ctx.Err() != nil {
					mu.Unlock()
					continue
				}
				conn, err := net.ListenMulticastUDP(network, &i, group)
				if err == nil {
					open[k] = conn
				}
				mu.Unlock()
				if err != nil {
					if text := i.Name + ": " + err.Error(); !told[text] {
						told[text] = true
						log(fmt.Errorf("announce the server on interface %s: %w", i.Name, err))
					}
					continue
				}
				running.Go(func() {
					s.serve(conn, i, group)
					mu.Lock()
					defer mu.Unlock()
					conn.Close()
					delete(open, k)
				})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interfaceCheck):
		}
	}
}

// serve answers on one interface until the connection is closed or the interface is gone.
func (s Server) serve(conn *net.UDPConn, i net.Interface, group *net.UDPAddr) {
	packet := make([]byte, maxMessageBytes)
	for {
		n, from, err := conn.ReadFromUDP(packet)
		if err != nil {
			return
		}
		addresses, err := hostinfo.AddressesOf(i)
		if err != nil {
			return // the interface is gone
		}
		// Everybody on the LAN sends here, also what is nonsense.
		reply, unicast, err := s.answer(packet[:n], from.Port, addresses)
		if err != nil || reply == nil {
			continue
		}
		to := from
		if !unicast {
			to = &net.UDPAddr{IP: group.IP, Port: group.Port, Zone: i.Name}
		}
		_, _ = conn.WriteToUDP(reply, to) // who got none asks again
	}
}

// multicastInterfaces are those of this machine that lead to others: multicasting, and with an address.
func multicastInterfaces() ([]net.Interface, error) {
	all, err := hostinfo.Interfaces()
	return slices.DeleteFunc(all, func(i net.Interface) bool {
		addresses, err := hostinfo.AddressesOf(i)
		return err != nil || len(addresses) == 0 || i.Flags&net.FlagMulticast == 0
	}), err
}
