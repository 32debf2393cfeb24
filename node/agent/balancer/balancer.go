package balancer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// dialPatience is how long a server may take to accept a connection: the kernel asks a second time after one second.
	dialPatience = 3 * time.Second
	// wellInterval and illInterval are between two checks of a server that is well, and of one that is not.
	wellInterval = 10 * time.Second
	illInterval  = 2 * time.Second
	// halfPatience is how long a connection lives on when one side has said all it had to say.
	halfPatience = time.Minute
	// maxConnections at once: what an agent has is about twenty.
	maxConnections = 4096
)

// keepAlive finds out within half a minute that the other machine has forgotten a connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// Options say where servers are.
type Options struct {
	Servers []string // "address:port" of those that the machine was told; at least one
	File    string   // where learned ones are remembered; empty: nowhere
	Log     *slog.Logger
}

// Balancer carries connections to servers.
type Balancer struct {
	options  Options
	patience time.Duration // dialPatience

	mu      sync.Mutex
	servers []*server // the preferred one first
	running context.Context
	open    int
}

// server is one of the servers, guarded by the balancer's lock.
type server struct {
	address     string
	problem     string // why it is ill; empty: it is well, or not known yet
	since       time.Time
	silences    int // attempts in a row that nobody answered
	connections map[*connection]struct{}
	check       chan struct{} // asks for a check now
	forget      context.CancelFunc
}

// connection is one client's.
type connection struct{ client, server *net.TCPConn }

// cut ends both sides at once.
func (c *connection) cut() {
	for _, side := range []*net.TCPConn{c.client, c.server} {
		_ = side.SetLinger(0)
		side.Close()
	}
}

// New returns a balancer that knows the servers of the options, and those that it has learned before.
func New(o Options) (*Balancer, error) {
	if len(o.Servers) == 0 {
		return nil, errors.New("load balancer: no server is known")
	}
	b := &Balancer{options: o, patience: dialPatience}
	learned, err := recall(o.File)
	if err != nil {
		o.Log.Error("servers learned before are forgotten", "error", err)
	}
	b.set(learned)
	return b, nil
}

// set makes the servers those learned, and those told after them.
func (b *Balancer) set(learned []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.servers
	b.servers = nil
	for _, address := range append(slices.Clone(learned), b.options.Servers...) {
		same := func(s *server) bool { return s.address == address }
		if slices.ContainsFunc(b.servers, same) {
			continue
		}
		if i := slices.IndexFunc(old, same); i >= 0 {
			b.servers = append(b.servers, old[i])
			old = slices.Delete(old, i, i+1)
			continue
		}
		s := &server{address: address, since: time.Now(), connections: map[*connection]struct{}{}, check: make(chan struct{}, 1)}
		b.servers = append(b.servers, s)
		b.watch(s)
	}
	for _, gone := range old { // what is open to it may end by itself
		if gone.forget != nil {
			gone.forget()
		}
	}
}

// watch checks a server until it is forgotten, if the balancer runs. The lock is held.
func (b *Balancer) watch(s *server) {
	if b.running != nil {
		ctx, cancel := context.WithCancel(b.running)
		s.forget = cancel
		go b.keepChecking(ctx, s)
	}
}

// Serve carries the connections that the listener gets until ctx is done.
func (b *Balancer) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { listener.Close() })
	b.mu.Lock()
	b.running = ctx
	for _, s := range b.servers {
		b.watch(s)
	}
	b.mu.Unlock()
	for {
		client, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			b.cutAll()
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // no more files, for one
			time.Sleep(100 * time.Millisecond)
		default:
			go b.carry(ctx, client.(*net.TCPConn))
		}
	}
}

// carry connects a client with a server for as long as both want.
func (b *Balancer) carry(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	upstream, s := b.connect(ctx)
	if upstream == nil {
		_ = client.SetLinger(0) // a reset: nobody was there
		return
	}
	defer upstream.Close()
	c := &connection{client: client, server: upstream}
	if !b.add(s, c) {
		c.cut()
		return
	}
	defer b.remove(s, c)
	var halves sync.WaitGroup
	half := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			c.cut()
			return
		}
		_ = to.CloseWrite()
		deadline := time.Now().Add(halfPatience)
		_ = client.SetDeadline(deadline)
		_ = upstream.SetDeadline(deadline)
	}
	halves.Go(func() { half(upstream, client) })
	half(client, upstream)
	halves.Wait()
}

// connect returns a connection to the first server that is well and accepts one; nil if there is none.
func (b *Balancer) connect(ctx context.Context) (*net.TCPConn, *server) {
	for _, s := range b.well() {
		c, err := b.dial(ctx, s)
		b.tell(ctx, s, err, false)
		if err == nil {
			return c, s
		}
	}
	return nil, nil
}

func (b *Balancer) dial(ctx context.Context, s *server) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: b.patience, KeepAliveConfig: keepAlive}
	c, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// well are the servers that are not known to be ill, in order.
func (b *Balancer) well() []*server {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open >= maxConnections {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(b.servers), func(s *server) bool { return s.problem != "" })
}

// add takes note of a connection; not if its server was found silent meanwhile.
func (b *Balancer) add(s *server, c *connection) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.problem != "" {
		return false
	}
	s.connections[c] = struct{}{}
	b.open++
	return true
}

func (b *Balancer) remove(s *server, c *connection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(s.connections, c)
	b.open--
}

func (b *Balancer) cutAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.servers {
		for c := range s.connections {
			c.cut()
		}
	}
}

// isRefusal says whether the other machine is there and has nobody at the port.
func isRefusal(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isSilence says whether nothing came back at all, which may be a lost packet.
func isSilence(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
