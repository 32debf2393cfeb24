package trap

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var oldChanges = map[int]argument{unix.SYS_TRUNCATE: {"truncate", -1, 0}}
