package trap

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// oldChanges are the calls of before there were ones relative to a folder.
var oldChanges = map[int]argument{
	unix.SYS_CREAT:    {"create", -1, 0},
	unix.SYS_TRUNCATE: {"truncate", -1, 0},
	unix.SYS_RENAME:   {"rename", -1, 0},
	unix.SYS_LINK:     {"link", -1, 1},
	unix.SYS_SYMLINK:  {"symlink", -1, 1},
	unix.SYS_MKDIR:    {"mkdir", -1, 0},
	unix.SYS_MKNOD:    {"mknod", -1, 0},
	unix.SYS_UNLINK:   {"unlink", -1, 0},
	unix.SYS_RMDIR:    {"rmdir", -1, 0},
}
