// Package databases runs real PostgreSQL, MariaDB and etcd servers for tests: Debian's, each with a data folder, a port
// and certificates of its own, as a user that is not root, and gone when the test ends.
package databases

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Password is that of [User]; a test that finds it where it should not be has found a leak.
const Password = "s3cret-of-the-database"

// Server is a database server that a test may stop and start.
type Server struct {
	Endpoint string // for --datastore-endpoint, with the password
	Certificates

	t         testing.TB
	dir       string // of the data
	address   string // host:port
	namespace string
	account   *syscall.Credential
	command   []string
	quit      syscall.Signal // ends it at once, with its children
	process   *exec.Cmd
	ended     chan struct{}
}

// Place is where a server listens. The zero value is a free port on 127.0.0.1.
type Place struct {
	Namespace string // path of a network namespace; empty: this one
	Port      int    // must be given for a namespace
}

// newServer makes the folder and the certificates for a server that runs as the account, if there is one and this is root.
func newServer(t testing.TB, kind, account string, at Place) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "airgap-"+kind+"-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir, namespace: at.Namespace, quit: syscall.SIGKILL}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			if text, err := os.ReadFile(filepath.Join(dir, "log")); err == nil {
				t.Logf("the end of %s's log:\n%s", kind, text[max(0, len(text)-3000):])
			}
		}
		os.RemoveAll(dir)
	})
	if at.Port == 0 {
		at.Port = freePort(t)
	}
	s.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port))
	s.Certificates = makeCertificates(t, dir, "127.0.0.1")
	if os.Geteuid() == 0 {
		u, err := user.Lookup(account)
		if err != nil {
			t.Fatalf("%v; is %s installed?", err, kind)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		for _, path := range []string{dir, s.CA, s.ServerCert, s.ServerKey} {
			if err := os.Chown(path, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The clients, root, read the client's files in a folder of the server's.
	return s
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.address)
	return port
}

// prepare returns a command that runs as the server's user, in its namespace.
func (s *Server) prepare(args []string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Pdeathsig: s.quit}
	if s.namespace != "" && s.account != nil {
		// Only root enters a namespace: nsenter does, and then becomes the user.
		cmd.Args = append([]string{"nsenter", "--net=" + s.namespace, fmt.Sprintf("--setuid=%d", s.account.Uid), fmt.Sprintf("--setgid=%d", s.account.Gid)}, args...)
		cmd.Path, _ = exec.LookPath("nsenter")
		cmd.SysProcAttr.Credential = nil
	}
	return cmd
}

// run runs a command of the server's to its end.
func (s *Server) run(args ...string) string {
	s.t.Helper()
	out, err := s.prepare(args).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Start starts the server and waits until it takes connections.
func (s *Server) Start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	process := s.prepare(s.command)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = process
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { _ = cmd.Wait(); close(ended) }(s.process, s.ended)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		probe := exec.Command("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/"+s.port())
		if s.namespace != "" {
			probe = exec.Command("nsenter", append([]string{"--net=" + s.namespace}, probe.Args...)...)
		}
		if probe.Run() == nil {
			return
		}
		select {
		case <-s.ended:
			s.t.Fatalf("%s ended at its start: %v", s.command[0], s.process.ProcessState)
		default:
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s takes no connections on %s", s.command[0], s.address)
		}
	}
}

// Stop ends the server as a crash would.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(s.quit)
	<-s.ended
	s.process = nil
}

// Freeze keeps the server from answering, until thaw is called.
func (s *Server) Freeze() (thaw func()) {
	_ = s.process.Process.Signal(syscall.SIGSTOP)
	return func() { _ = s.process.Process.Signal(syscall.SIGCONT) }
}
