package hostinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// BridgeFilter says why what goes from one port of a bridge to another does not pass the machine's
// firewall, even after an attempt to load the module br_netfilter: nil if it does, or would.
func (h Host) BridgeFilter() error {
	const module = "br_netfilter"
	if h.Exists("/proc/sys/net/bridge/bridge-nf-call-iptables") || h.Exists("/sys/module/"+module) {
		return nil
	}
	file := path.Join("/lib/modules", h.KernelRelease(), "modules.dep")
	found, err := h.listsModule(file, module)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("it is not in the kernel, and there is no %s", file)
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("it is not in the kernel, and %s does not list it", file)
	case len(h.MissingTools("modprobe")) > 0:
		return errors.New("it is not loaded, and there is no modprobe to load it with")
	}
	return nil
}

// listsModule says whether file, in the format of modules.dep(5), has the module:
// "kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz".
func (h Host) listsModule(file, module string) (found bool, err error) {
	err = h.lines(file, func(fields []string) error {
		found = found || len(fields) > 0 && strings.HasPrefix(path.Base(fields[0]), module+".ko")
		return nil
	})
	return found, err
}
