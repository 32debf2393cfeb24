package main

import (
	"context"
	"errors"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// client speaks with the site's API server as its administrator. kubectl would do as well, and cost
// more than what it asks about.
func (s *site) client() (kubernetes.Interface, error) {
	settings, err := clientcmd.BuildConfigFromFlags("", s.paths.Kubeconfig())
	if err != nil {
		return nil, err
	}
	settings.Dial = s.dial
	settings.Timeout = 2 * time.Second
	settings.QPS = -1 // no limit
	return kubernetes.NewForConfig(settings)
}

// dial connects in the site's network namespace. A socket belongs for good to the namespace of the
// thread that made it, and a namespace is a thread's own.
func (s *site) dial(_ context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		conn, err := dialIn("/run/netns/"+s.namespace, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// dialIn moves the calling thread to a network namespace and connects from there. The address is
// numeric and there is one: package net makes the socket on this thread then.
func dialIn(namespace, network, address string) (net.Conn, error) {
	fd, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
	if err != nil {
		return nil, err
	}
	return net.DialTimeout(network, address, time.Second)
}
