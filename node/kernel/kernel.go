// Package kernel is what a node asks of the kernel's settings under /proc/sys.
//
// Some are needed for anything to work, and are always set. Others are the kubelet's
// defaults, which decide what the machine does when memory runs out or the kernel fails:
// they are set too, unless the machine's owner protects them with --protect-kernel-defaults. Then a node
// on which they differ does not start, and says every one that does.
package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Setting is one file under /proc/sys, and what it must hold.
type Setting struct {
	Name  string // as sysctl has it, "vm.overcommit_memory"
	Value string
	Why   string

	Protected bool // one of the kubelet's defaults, under --protect-kernel-defaults
	Optional  bool // a kernel without it is fine
}

// Settings are those of every node. The protected ones are the kubelet's, see setupKernelTunables in
// pkg/kubelet/cm/container_manager_linux.go.
var Settings = []Setting{
	{Name: "net.ipv4.ip_forward", Value: "1", Why: "pods reach each other through the node", Optional: true},
	{Name: "net.ipv6.conf.all.forwarding", Value: "1", Why: "pods reach each other through the node", Optional: true},
	{Name: "net.bridge.bridge-nf-call-iptables", Value: "1", Why: "replies between pods of one bridge pass the service's address translation", Optional: true},
	{Name: "net.bridge.bridge-nf-call-ip6tables", Value: "1", Why: "replies between pods of one bridge pass the service's address translation", Optional: true},

	{Name: "vm.overcommit_memory", Value: "1", Why: "memory is limited by cgroups, not by refusing to reserve it", Protected: true},
	{Name: "vm.panic_on_oom", Value: "0", Why: "out of memory, a process is killed and the machine goes on", Protected: true},
	{Name: "kernel.panic", Value: "10", Why: "a machine that nobody watches reboots ten seconds after a panic", Protected: true},
	{Name: "kernel.panic_on_oops", Value: "1", Why: "a damaged kernel does not go on", Protected: true},
	{Name: "kernel.keys.root_maxkeys", Value: "1000000", Why: "each container has a keyring of root's", Protected: true},
	{Name: "kernel.keys.root_maxbytes", Value: "25000000", Why: "each container has a keyring of root's", Protected: true},
}

// Root is where the kernel shows its settings.
const Root = "/proc/sys"

// Apply makes the settings under root what they should be. With protect it leaves the protected ones alone, and
// the error names each that is wrong and its wanted value. All that is wrong is reported, not the first.
func Apply(root string, settings []Setting, protect bool) error {
	var errs []error
	for _, s := range settings {
		if err := s.apply(root, protect); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Wrong lists the protected settings under root that are not what they should be: what a node that is told
// to protect them refuses to start for.
func Wrong(root string, settings []Setting) []error {
	var wrong []error
	for _, s := range settings {
		if !s.Protected {
			continue
		}
		if err := s.apply(root, true); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// Differing lists the settings under root that [Apply] would change, or fail on.
func Differing(root string, settings []Setting) []error {
	var differing []error
	for _, s := range settings {
		s.Protected = true
		if err := s.apply(root, true); err != nil {
			differing = append(differing, err)
		}
	}
	return differing
}

func (s Setting) apply(root string, protect bool) error {
	file := s.file(root)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && s.Optional {
		return nil // no IPv6, or br_netfilter is not there: preflight reports what is needed
	}
	if err != nil {
		return fmt.Errorf("kernel setting %s: %w", s.Name, err)
	}
	current := strings.TrimSpace(string(data))
	if current == s.Value {
		return nil
	}
	if protect && s.Protected {
		return fmt.Errorf("kernel setting %s is %s, want %s (%s): put %s=%s into /etc/sysctl.d, or start without --protect-kernel-defaults",
			s.Name, current, s.Value, s.Why, s.Name, s.Value)
	}
	if err := os.WriteFile(file, []byte(s.Value), 0); err != nil {
		return fmt.Errorf("kernel setting %s is %s and cannot be set to %s (%s): %w; set it outside", s.Name, current, s.Value, s.Why, err)
	}
	return nil
}
