// Command launcher is what the kernel runs when somebody starts airgap: the small program in
// front of the payload. It makes sure that the payload's tree lies unpacked on this machine and
// becomes the executable in it that has the verb (package program), in the same process and with the same arguments.
//
//	argv[0] is kept: a symbolic link named kubectl makes it kubectl.
//	AIRGAP_EXECUTABLE is set to the path of the packed executable.
//	"supervise" as the first argument is the launcher's own: see supervise.go.
//
// The tree goes to <data-dir>/data/<digest> for root and to the user's cache folder for
// anyone else; see versionsDir. After the first start all this takes about two milliseconds.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"airgap/internal/payload"
	"airgap/internal/program"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		os.Exit(superviseVerb(os.Args[2:]))
	}
	if err := launch(); err != nil {
		fmt.Fprintln(os.Stderr, "airgap:", err)
		os.Exit(1)
	}
}

// launch does not return when it succeeds.
func launch() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find this executable: %w (is /proc mounted?)", err)
	}
	root, err := tree(self)
	if err != nil {
		return err
	}
	target := filepath.Join(root, "bin", program.Of(os.Args, clients))
	if err := os.Setenv("AIRGAP_EXECUTABLE", self); err != nil {
		return err
	}
	if err := syscall.Exec(target, os.Args, os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", target, err)
	}
	return nil
}

// tree returns the folder of the unpacked payload of the executable self.
func tree(self string) (string, error) {
	p, err := payload.Open(self)
	if err != nil {
		return "", err
	}
	defer p.Close()

	// The executable that an install staged stands in its own tree.
	if dir := filepath.Dir(self); filepath.Base(dir) == p.Digest() {
		return dir, nil
	}
	var failure error
	for _, place := range places(os.Args, os.Getenv, os.Geteuid()) {
		dir, err := p.Ensure(place.dir, false)
		if err == nil {
			return dir, nil
		}
		if failure == nil || !place.fallback {
			failure = fmt.Errorf("unpack %d MB to %s: %w%s", p.UnpackedBytes()/1e6, place.dir, err, hint(err))
		}
		if !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EACCES) {
			break
		}
	}
	return "", failure
}

// hint says what to do about err.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "\nhint: free some space, or name a folder on another disk with --data-dir or AIRGAP_DATA_DIR"
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES):
		return "\nhint: name a folder that can be written to with --data-dir or AIRGAP_DATA_DIR"
	case errors.Is(err, payload.ErrDamaged):
		return "\nhint: copy the executable again from where it came from"
	}
	return ""
}
