package trap

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// argument says how a call names the file that it changes.
type argument struct {
	name string // of the call
	fd   int    // index of the argument that is the file's descriptor, or the folder's of path; -1: none
	path int    // index of the argument that is its path; -1: none
}

// changes are the calls that change files, and are the same on all architectures. What a C library calls rename or mkdir is one of these, or,
// where an architecture has the old calls too, in the architecture's list.
var changes = map[int]argument{
	unix.SYS_WRITE:           {"write", 0, -1},
	unix.SYS_WRITEV:          {"writev", 0, -1},
	unix.SYS_PWRITE64:        {"pwrite", 0, -1},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, -1},
	unix.SYS_SENDFILE:        {"sendfile", 0, -1},
	unix.SYS_FTRUNCATE:       {"ftruncate", 0, -1},
	unix.SYS_FALLOCATE:       {"fallocate", 0, -1},
	unix.SYS_FSYNC:           {"fsync", 0, -1},
	unix.SYS_FDATASYNC:       {"fdatasync", 0, -1},
	unix.SYS_SYNCFS:          {"syncfs", 0, -1},
	unix.SYS_OPENAT:          {"create", 0, 1}, // only with the flags of creating
	unix.SYS_RENAMEAT:        {"rename", 0, 1},
	unix.SYS_RENAMEAT2:       {"rename", 0, 1},
	unix.SYS_LINKAT:          {"link", 2, 3},
	unix.SYS_SYMLINKAT:       {"symlink", 1, 2},
	unix.SYS_MKDIRAT:         {"mkdir", 0, 1},
	unix.SYS_MKNODAT:         {"mknod", 0, 1},
	unix.SYS_UNLINKAT:        {"unlink", 0, 1},
}

// reads are the calls that read what a descriptor names.
var reads = map[int]argument{
	unix.SYS_READ:    {"read", 0, -1},
	unix.SYS_PREAD64: {"pread", 0, -1},
}

// creating are the flags of an open that changes files: O_CREAT, O_TRUNC, and what O_TMPFILE has beyond O_DIRECTORY.
const creating = unix.O_CREAT | unix.O_TRUNC | unix.O_TMPFILE&^unix.O_DIRECTORY

// Offsets in struct seccomp_data.
const (
	offsetCall      = 0
	offsetArch      = 4
	offsetOpenFlags = 16 + 2*8 // the lower half of the third argument, on a little-endian machine
)

// filter makes the kernel ask about the calls, and let all others through.
func filter(withReads bool) []unix.SockFilter {
	statement := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	jump := func(code uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | code | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	load := func(offset uint32) unix.SockFilter {
		return statement(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset)
	}
	allow := statement(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW)
	ask := statement(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_USER_NOTIF)

	program := []unix.SockFilter{
		load(offsetArch), jump(unix.BPF_JEQ, auditArch, 1, 0), allow,
		load(offsetCall),
		jump(unix.BPF_JEQ, unix.SYS_OPENAT, 0, 4), load(offsetOpenFlags), jump(unix.BPF_JSET, creating, 0, 1), ask, allow,
	}
	lists := []map[int]argument{changes, oldChanges}
	if withReads {
		lists = append(lists, reads)
	}
	for _, list := range lists {
		for call := range list {
			if call != unix.SYS_OPENAT {
				program = append(program, jump(unix.BPF_JEQ, uint32(call), 0, 1), ask)
			}
		}
	}
	return append(program, allow)
}

// install puts the filter on the calling thread, for all that it becomes and starts, and returns the listener. The thread is this
// goroutine's from then on.
func install(withReads bool) (int, error) {
	runtime.LockOSThread()
	program := filter(withReads)
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
