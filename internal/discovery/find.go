package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// askAgain is how long an answer is waited for before the question is asked again: packets of multicasts are lost.
	askAgain = 700 * time.Millisecond
	// mostServers bounds what is kept of answers: anybody can send them.
	mostServers = 64
)

// Find asks on every interface which servers there are, and collects the answers until ctx is done; an enough that
// returns true ends it sooner; it may be nil. The servers come sorted by URL. The error says that no interface could be asked.
func Find(ctx context.Context, enough func([]Server) bool) ([]Server, error) {
	list, err := multicastInterfaces()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var found []Server
	tell := func(servers []Server) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range servers {
			if len(found) < mostServers && !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
		if enough != nil && enough(found) {
			cancel()
		}
	}
	var running sync.WaitGroup
	var failures []error
	asked := 0
	for _, i := range list {
		for network := range groups {
			conn, err := listenOn(i, network)
			if err != nil {
				failures = append(failures, fmt.Errorf("interface %s: %w", i.Name, err))
				continue
			}
			asked++
			running.Go(func() { ask(ctx, conn, i, groups[network], tell) })
		}
	}
	running.Wait()
	if asked == 0 {
		return nil, errors.Join(append([]error{errors.New("no interface of this machine leads to others")}, failures...)...)
	}
	slices.SortFunc(found, func(a, b Server) int { return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.CAHash, b.CAHash)) })
	return found, nil
}

// listenOn opens a socket that sends multicasts on an interface.
func listenOn(i net.Interface, network string) (*net.UDPConn, error) {
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	if network == "udp4" {
		err = ipv4.NewPacketConn(conn).SetMulticastInterface(&i)
	} else {
		err = ipv6.NewPacketConn(conn).SetMulticastInterface(&i)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// ask asks on one interface, again and again, and tells the answers until ctx is done. It closes the connection.
func ask(ctx context.Context, conn *net.UDPConn, i net.Interface, group *net.UDPAddr, tell func([]Server)) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	id := uint16(rand.N(1 << 16))
	q, err := question(id)
	if err != nil {
		return // of constants: cannot be
	}
	packet := make([]byte, maxMessageBytes)
	for ctx.Err() == nil {
		// An interface may have no route of this family yet; asking again is all that helps.
		_, _ = conn.WriteToUDP(q, &net.UDPAddr{IP: group.IP, Port: group.Port, Zone: i.Name})
		_ = conn.SetReadDeadline(time.Now().Add(askAgain))
		for {
			n, _, err := conn.ReadFromUDP(packet)
			if err != nil {
				break
			}
			if servers, err := parse(packet[:n], id); err == nil {
				tell(servers)
			}
		}
	}
}
