// Package trap runs a program and is asked before each of its system calls that changes files: whether the kernel shall do
// it, whether it shall fail and how, or whether the program ends there, killed. So a test kills or fails any program, as it is built, at any
// of its writes, and none of them twice.
//
// It is seccomp's user notification (seccomp_unotify(2)): the program's own kernel filter, which it inherits, holds a thread before the call
// until the one who has the listener answers. Nothing is traced and nothing preloaded, so static programs and those with
// threads and children run as they always do, some microseconds slower for each such call.
//
// It needs root, and Linux 5.19 for a call that is interrupted by a signal to be told once.
package trap
