package hostinfo

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Mount is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID      int
	Root    string // what of the file system is mounted; "net:[…]" for a network namespace
	Point   string // where
	Options []string
	Type    string // "ext4", "overlay", "nsfs" …
	Source  string
	Super   []string // options of the file system
}

// ReadOnly says whether the mount or its file system cannot be written.
func (m Mount) ReadOnly() bool {
	return slices.Contains(m.Options, "ro") || slices.Contains(m.Super, "ro")
}

// Mounts lists the mounts of this process's mount namespace, in the order they
// were made.
func (h Host) Mounts() ([]Mount, error) {
	var all []Mount
	err := h.lines("/proc/self/mountinfo", func(f []string) error {
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+4 {
			return errors.New("not a line of mountinfo")
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			return err
		}
		all = append(all, Mount{
			ID:      id,
			Root:    unescape(f[3]),
			Point:   unescape(f[4]),
			Options: strings.Split(f[5], ","),
			Type:    f[dash+1],
			Source:  unescape(f[dash+2]),
			Super:   strings.Split(f[dash+3], ","),
		})
		return nil
	})
	return all, err
}

// MountOf returns the mount that name, absolute and clean and not a symbolic link, is on.
func MountOf(mounts []Mount, name string) (Mount, bool) {
	var best Mount
	found := false
	for _, m := range mounts {
		if Within(name, m.Point) && (!found || len(m.Point) >= len(best.Point)) {
			best, found = m, true // a later mount on the same point hides the earlier
		}
	}
	return best, found
}

// Within says whether name is dir or below it; both absolute and clean.
func Within(name, dir string) bool {
	return dir == "/" || name == dir || strings.HasPrefix(name, dir+"/")
}

// unescape undoes the kernel's octal escapes of white space and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
