package trap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is a system call of the program that the kernel has not done yet.
type Call struct {
	Name string // "write", "fsync", "rename", …: as in changes, whichever of several it is
	Path string // absolute, of the file or folder that it changes; of a rename, the old one
}

// Answer is what becomes of a call. The zero Answer lets the kernel do it.
type Answer struct {
	Errno  unix.Errno  // not 0: the call fails with it, and nothing is done
	Signal unix.Signal // not 0: sent to the program before the call; after SIGKILL the call is not done
}

// Options are those of Start.
type Options struct {
	Reads bool // ask before reads, too
}

// Environment and descriptor of the program between fork and exec of the one that is trapped.
const (
	variable = "AIRGAP_TEST_TRAP"
	socket   = 3
)

// Start starts cmd, asks decide before each call of its process that changes a file (one by one, whichever thread makes it), and returns. The
// children of the process are not asked about, but live under the filter: this process must go on as long as they do. cmd may
// have no ExtraFiles. A program that imports this package must be the one that runs: it starts itself in between.
func Start(cmd *exec.Cmd, o Options, decide func(Call) Answer) error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ends[0])
	theirs := os.NewFile(uintptr(ends[1]), "trap")
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, variable+"="+strconv.FormatBool(o.Reads))
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Args = append([]string{"trap", cmd.Path}, cmd.Args...)
	cmd.Path = "/proc/self/exe"
	err = errors.Join(cmd.Start(), theirs.Close())
	if err != nil {
		return err
	}
	listener, err := receive(ends[0])
	if err != nil {
		return errors.Join(fmt.Errorf("trap %s: %w", cmd.Args[1], err), cmd.Process.Kill(), cmd.Wait())
	}
	go serve(listener, cmd.Process.Pid, decide)
	return nil
}

// receive takes the listener from the started program.
func receive(socket int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	said := make([]byte, 200)
	n, oobn, _, _, err := unix.Recvmsg(socket, said, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("no filter: %s", said[:n])
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// init is the started program: it puts itself under the filter and becomes the one that is to be trapped.
func init() {
	withReads, ok := os.LookupEnv(variable)
	if !ok {
		return
	}
	os.Unsetenv(variable)
	listener, err := install(withReads == "true")
	if err != nil {
		_ = unix.Sendmsg(socket, []byte(err.Error()), nil, nil, 0)
		os.Exit(1)
	}
	if err := unix.Sendmsg(socket, []byte("."), unix.UnixRights(listener), nil, 0); err != nil {
		os.Exit(1)
	}
	unix.Close(socket)
	unix.Close(listener)
	_ = syscall.Exec(os.Args[1], os.Args[2:], os.Environ())
	os.Exit(1)
}

// notification is struct seccomp_notif.
type notification struct {
	id    uint64
	tid   uint32
	flags uint32
	call  int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32 // negative
	flags uint32
}

// serve answers until nothing lives under the filter any more.
func serve(listener, pid int, decide func(Call) Answer) {
	defer unix.Close(listener)
	for {
		poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			if poll[0].Revents != 0 {
				return
			}
			continue
		}
		var n notification
		if errno := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); errno != 0 {
			continue // it has been killed meanwhile
		}
		r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if call, ok := n.describe(pid); ok {
			answer := decide(call)
			if answer.Signal != 0 {
				_ = unix.Kill(pid, answer.Signal)
			}
			if answer.Signal == unix.SIGKILL {
				continue
			}
			if answer.Errno != 0 {
				r.errno, r.flags = -int32(answer.Errno), 0
			}
		}
		_ = ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)) // fails if it has been killed
	}
}

func ioctl(fd int, request uint, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	return errno
}

// describe says what the call is, if it is one of the process and of a file.
func (n *notification) describe(pid int) (Call, bool) {
	if err := unix.Access(fmt.Sprintf("/proc/%d/task/%d", pid, n.tid), unix.F_OK); err != nil {
		return Call{}, false
	}
	for _, list := range []map[int]argument{changes, oldChanges, reads} {
		a, ok := list[int(n.call)]
		if !ok {
			continue
		}
		path := ""
		if a.path >= 0 {
			path = readString(int(n.tid), uintptr(n.args[a.path]))
		}
		if !filepath.IsAbs(path) {
			fd := "cwd"
			if a.fd >= 0 && int32(n.args[a.fd]) != unix.AT_FDCWD {
				fd = fmt.Sprintf("fd/%d", int32(n.args[a.fd]))
			}
			folder, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", n.tid, fd))
			if err != nil {
				return Call{}, false
			}
			path = filepath.Join(folder, path)
		}
		isFile := filepath.IsAbs(path) && !strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/proc/") && !strings.HasPrefix(path, "/sys/")
		return Call{Name: a.name, Path: path}, isFile
	}
	return Call{}, false
}

// readString reads a string of a thread's memory that ends with a zero byte.
func readString(tid int, address uintptr) string {
	const page = 4096
	var text []byte
	for len(text) < unix.PathMax {
		part := make([]byte, page-int(address%page)) // the next page may not be there
		local := []unix.Iovec{{Base: &part[0]}}
		local[0].SetLen(len(part))
		n, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: address, Len: len(part)}}, 0)
		if err != nil || n <= 0 {
			return ""
		}
		if end := strings.IndexByte(string(part[:n]), 0); end >= 0 {
			return string(append(text, part[:end]...))
		}
		text = append(text, part[:n]...)
		address += uintptr(n)
	}
	return ""
}
