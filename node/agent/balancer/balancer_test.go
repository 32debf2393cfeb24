package balancer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// log gathers what the balancer says.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// start runs a balancer, which waits so long for servers, and returns where it listens.
func start(t *testing.T, o Options, patience time.Duration) (*Balancer, string, *log) {
	t.Helper()
	lines := &log{}
	o.Log = slog.New(slog.NewTextHandler(lines, nil))
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.patience = patience
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the balancer ended with %v", err)
		}
	})
	return b, listener.Addr().String(), lines
}

// echo is a server that says its name and then repeats what it hears.
func echo(t *testing.T, name string) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, name)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return listener.Addr().String(), func() { listener.Close() }
}

// ask connects and reads who answers; empty: nobody.
func ask(t *testing.T, address string) (name string, c net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if errors.Is(err, syscall.ECONNRESET) { // turned away while it was still being accepted
		return "", nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	name1 := make([]byte, 1)
	if _, err := io.ReadFull(c, name1); err != nil {
		return "", c
	}
	return string(name1), c
}

// deaf is a server whose kernel takes a connection or two, and drops whatever comes after: what a cut cable looks like.
func deaf(t *testing.T) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

// fill takes a deaf server's last place.
func fill(t *testing.T, address string) {
	t.Helper()
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("this kernel takes more connections than it was told to")
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func TestFailover(t *testing.T) {
	first, stop := echo(t, "A")
	second, _ := echo(t, "B")
	b, address, lines := start(t, Options{Servers: []string{first, second}}, dialPatience)
	if name, _ := ask(t, address); name != "A" {
		t.Fatalf("%q answers, want the first", name)
	}
	_, open := ask(t, address)
	stop()
	for range 5 {
		if name, _ := ask(t, address); name != "B" {
			t.Fatalf("%q answers, want the second", name)
		}
	}
	if n := lines.count("not reached"); n != 1 {
		t.Errorf("told %d times that a server is gone", n)
	}
	// A server that takes no new connections may be finishing what it has.
	if _, err := io.WriteString(open, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Errorf("the connection of a server that refuses new ones is cut: %v", err)
	}
	listener, err := net.Listen("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	eventually(t, "the first is used again", func() bool { return b.Servers()[0].Problem == "" })
}

func TestNobodyAnswers(t *testing.T) {
	gone, stop := echo(t, "A")
	stop()
	_, address, lines := start(t, Options{Servers: []string{gone}}, dialPatience)
	began := time.Now()
	for range 100 {
		if name, _ := ask(t, address); name != "" {
			t.Fatalf("%q answers", name)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("100 clients were turned away in %v", took)
	}
	if n := lines.count("not reached"); n != 1 {
		t.Errorf("told %d times that a server is gone", n)
	}
}

func TestBlackHole(t *testing.T) {
	hole := deaf(t)
	second, _ := echo(t, "B")
	b, address, lines := start(t, Options{Servers: []string{hole}}, 200*time.Millisecond)
	eventually(t, "the first check", func() bool { return b.Servers()[0].Problem == "" })
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	eventually(t, "the client is connected or the server is deaf already", func() bool {
		s := b.Servers()[0]
		return s.Connections == 1 || s.Problem != ""
	})
	fill(t, hole)
	b.mu.Lock()
	s := b.servers[0]
	b.mu.Unlock()
	s.check <- struct{}{}
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	var timeout net.Error
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("a connection to a server that says nothing lives on: %v", err)
	}
	if err := b.Learn([]string{hole, second}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if name, _ := ask(t, address); name != "B" {
		t.Errorf("%q answers, want the second", name)
	}
	if took := time.Since(began); took > 150*time.Millisecond {
		t.Errorf("a server that is known to be deaf costs %v", took)
	}
	if n := lines.count("not reached"); n != 1 {
		t.Errorf("told %d times that a server is gone", n)
	}
}

func TestRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "servers.json")
	told, stop := echo(t, "A")
	learned, _ := echo(t, "B")
	b, _, _ := start(t, Options{Servers: []string{told}, File: file}, dialPatience)
	if err := b.Learn([]string{learned}); err != nil {
		t.Fatal(err)
	}
	if err := b.Learn(nil); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]string{{"nowhere"}, {"first:6443"}, make([]string, maxServers+1)} {
		if err := b.Learn(bad); err == nil {
			t.Errorf("%q is learned", bad)
		}
	}
	stop()
	_, address, _ := start(t, Options{Servers: []string{told}, File: file}, dialPatience)
	if name, _ := ask(t, address); name != "B" {
		t.Errorf("after a restart %q answers, want the one that was learned", name)
	}

	if err := os.WriteFile(file, []byte(`{"servers":["10.`), 0o600); err != nil {
		t.Fatal(err)
	}
	third, _ := echo(t, "C")
	_, address, lines := start(t, Options{Servers: []string{third}, File: file}, dialPatience)
	if name, _ := ask(t, address); name != "C" || lines.count("forgotten") != 1 {
		t.Errorf("with a damaged file %q answers; want the one that was told, and a word about it", name)
	}
}

func TestHalfClosed(t *testing.T) {
	server, _ := echo(t, "A")
	b, address, _ := start(t, Options{Servers: []string{server}}, dialPatience)
	_, c := ask(t, address)
	if _, err := io.WriteString(c, "all I have to say"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "all I have to say" {
		t.Errorf("after one half was closed, the other brought %q, %v", got, err)
	}
	eventually(t, "the connection is let go", func() bool { return b.Servers()[0].Connections == 0 })
}

func TestThousandConnections(t *testing.T) {
	server, _ := echo(t, "A")
	b, address, _ := start(t, Options{Servers: []string{server}}, dialPatience)
	var clients sync.WaitGroup
	for i := range 1000 {
		clients.Go(func() {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			text := fmt.Sprintf("client %d", i)
			if _, err := io.WriteString(c, text); err != nil {
				t.Error(err)
			}
			got := make([]byte, 1+len(text))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "A"+text {
				t.Errorf("client %d got %q, %v", i, got, err)
			}
		})
	}
	clients.Wait()
	eventually(t, "all connections are let go", func() bool { return b.Servers()[0].Connections == 0 })
	if b.open != 0 {
		t.Errorf("%d connections are still counted", b.open)
	}
}
