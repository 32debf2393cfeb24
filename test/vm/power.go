package vm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// emulator64 is a whole machine with an x86-64 processor.
const emulator64 = "qemu-system-x86_64"

// connectPatience is for QEMU to start and to connect to what it was told.
const connectPatience = time.Minute

// power is a machine that is on: its QEMU and what that is connected to.
type power struct {
	hands   *hands
	monitor *monitor
	console *console
	said    *bytes.Buffer // by QEMU itself
	ended   chan struct{}

	cmd   *exec.Cmd
	disk  sync.WaitGroup // its server
	close []func() error
}

// switchOn starts QEMU. Everything that it is connected to is a socket that this process listens at.
func (m *Machine) switchOn() (p *power, err error) {
	p = &power{said: new(bytes.Buffer), ended: make(chan struct{}), console: newConsole()}
	listeners := map[string]*net.UnixListener{}
	for _, name := range []string{"disk", "console", "monitor", "room", "notes"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.socket(name)})
		if err != nil {
			return nil, err
		}
		defer l.Close()
		if err := l.SetDeadline(time.Now().Add(connectPatience)); err != nil {
			return nil, err
		}
		listeners[name] = l
	}
	if err := p.start(m.arguments()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.off()
			err = fmt.Errorf("%w; QEMU says %q", err, p.said.String())
		}
	}()
	// QEMU goes on from one to the next when it has been let in, so each waits on its own.
	conns := map[string]net.Conn{}
	var (
		mu    sync.Mutex
		await sync.WaitGroup
		errs  []error
	)
	for name, listener := range listeners {
		await.Go(func() {
			conn, err := listener.Accept()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
				return
			}
			conns[name] = conn
			p.close = append(p.close, conn.Close)
			if name == "disk" {
				p.disk.Go(func() { _ = m.disk.Serve(conn) })
			}
		})
	}
	await.Wait()
	if err := errors.Join(errs...); err != nil {
		return p, err
	}
	go p.console.read(conns["console"], filepath.Join(m.folder, "console"))
	go m.notes.read(conns["notes"])
	p.hands = &hands{conn: conns["room"], lines: bufio.NewReader(conns["room"])}
	p.monitor, err = newMonitor(conns["monitor"])
	return p, err
}

func (m *Machine) socket(name string) string { return filepath.Join(m.folder, name+".sock") }

// arguments are QEMU's. Nothing that is not listed is in the machine: no network, no display.
func (m *Machine) arguments() []string {
	clock := "utc"
	if !m.Hardware.Clock.IsZero() {
		clock = m.Hardware.Clock.UTC().Format("2006-01-02T15:04:05")
	}
	args := []string{
		"-accel", accelerator(), "-cpu", "max", "-smp", fmt.Sprint(m.Hardware.CPUs), "-m", fmt.Sprint(m.Hardware.MemoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-net", "none", "-rtc", "base=" + clock,
		"-kernel", m.image.kernel, "-initrd", m.image.initrd, "-append", "root=/dev/vda ro console=ttyS0 panic=10",
		"-blockdev", "driver=nbd,node-name=system,server.type=unix,server.path=" + m.socket("disk"),
		"-device", "virtio-blk-pci,drive=system,write-cache=on",
		"-device", "qemu-xhci,id=usb",
		"-device", "virtio-rng-pci",
		"-device", "virtio-serial-pci",
		"-serial", "chardev:console",
		"-mon", "chardev=monitor,mode=control",
	}
	for _, name := range []string{"console", "monitor", "room", "notes"} {
		args = append(args, "-chardev", "socket,id="+name+",path="+m.socket(name))
	}
	for _, name := range []string{"room", "notes"} {
		args = append(args, "-device", "virtserialport,chardev="+name+",name="+name)
	}
	return args
}

// start starts QEMU such that it ends when this process does, even if that is killed. The kernel sends that
// signal when the thread that made the process ends, so one thread is kept for it.
func (p *power) start(args []string) error {
	p.cmd = exec.Command(emulator64, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("%w (apt-get install qemu-system-x86)", err)
	}
	return nil
}

// off kills QEMU and waits for all that served it.
func (p *power) off() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	for _, c := range p.close {
		_ = c()
	}
	p.disk.Wait()
}

// console is what a machine prints on its serial line.
type console struct {
	mu   sync.Mutex
	text []byte
	more chan struct{} // closed and made anew with each text
}

func newConsole() *console { return &console{more: make(chan struct{})} }

// read keeps what comes, and writes it to the file for whoever watches.
func (c *console) read(conn net.Conn, file string) {
	watched, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		defer watched.Close()
	}
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		_, _ = watched.Write(buffer[:n])
		c.mu.Lock()
		c.text = append(c.text, buffer[:n]...)
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until the text has been printed.
func (c *console) await(text string, patience time.Duration) error {
	timeout := time.After(patience)
	for {
		c.mu.Lock()
		found, more := bytes.Contains(c.text, []byte(text)), c.more
		c.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-more:
		case <-timeout:
			return fmt.Errorf("no %q on the console within %s", text, patience)
		}
	}
}

func (c *console) tail(lines int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Split(string(c.text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// notes are lines that a machine has sent.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) read(conn net.Conn) {
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		n.mu.Lock()
		n.lines = append(n.lines, lines.Text())
		n.mu.Unlock()
	}
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.lines...)
}
