package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BridgeFilter is the module that lets what goes between pods of one bridge pass the firewall, and so the
// rules of services and network policies. Nothing makes the kernel load it by itself.
const BridgeFilter = "br_netfilter"

// LoadBridgeFilter sees to it that the kernel has [BridgeFilter]; its settings are under root then.
func LoadBridgeFilter(root string) error {
	if _, err := os.Stat(filepath.Join(root, "net/bridge/bridge-nf-call-iptables")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if out, err := exec.Command("modprobe", BridgeFilter).CombinedOutput(); err != nil {
		return fmt.Errorf("modprobe %s: %w: %s", BridgeFilter, err, strings.TrimSpace(string(out)))
	}
	return nil
}
