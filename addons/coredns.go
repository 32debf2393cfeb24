package addons

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/util/validation"
)

//go:embed manifests
var manifestFiles embed.FS

var manifestTemplates = template.Must(template.New("").Funcs(template.FuncMap{
	"quote":  strconv.Quote,
	"indent": indent,
}).ParseFS(manifestFiles, "manifests/*"))

// CoreDNSOptions is what the manifest of cluster DNS depends on.
type CoreDNSOptions struct {
	Image         string
	ClusterDNS    string // address of the Service kube-dns; with dual stack one of each family, separated by a comma
	ClusterDomain string // "cluster.local"

	// Upstream are the resolvers for names that are not the cluster's: addresses, with a port
	// if it is not 53. Empty is for a site without any: such names then do not exist.
	Upstream []string
}

// CoreDNS returns the manifest of cluster DNS: CoreDNS in kube-system, with the names that kubeadm
// and K3s give its objects. The same options give the same bytes.
func CoreDNS(o CoreDNSOptions) ([]byte, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("manifest of CoreDNS: %w", err)
	}
	data := struct {
		CoreDNSOptions
		Corefile, CorefileHash string
		ServiceIPs             []string
	}{CoreDNSOptions: o, ServiceIPs: strings.Split(o.ClusterDNS, ",")}
	corefile, err := fill("Corefile", data)
	if err != nil {
		return nil, err
	}
	data.Corefile = string(corefile)
	sum := sha256.Sum256(corefile)
	data.CorefileHash = "sha256-" + hex.EncodeToString(sum[:8])
	return fill("coredns.yaml", data)
}

// fill returns a file of the folder manifests, filled in.
func fill(name string, data any) ([]byte, error) {
	var filled bytes.Buffer
	if err := manifestTemplates.ExecuteTemplate(&filled, name, data); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	return filled.Bytes(), nil
}

func (o CoreDNSOptions) validate() error {
	if o.Image == "" {
		return fmt.Errorf("no image")
	}
	if err := validateServiceIPs(strings.Split(o.ClusterDNS, ",")); err != nil {
		return fmt.Errorf("cluster DNS address %q: %w", o.ClusterDNS, err)
	}
	if bad := validation.IsDNS1123Subdomain(o.ClusterDomain); len(bad) > 0 {
		return fmt.Errorf("cluster domain %q: %s", o.ClusterDomain, bad[0])
	}
	for _, upstream := range o.Upstream {
		if err := validateUpstream(upstream); err != nil {
			return err
		}
	}
	return nil
}

// validateServiceIPs wants one address, or one of each family.
func validateServiceIPs(list []string) error {
	families := map[bool]bool{} // by whether it is IPv6
	for _, text := range list {
		address, err := netip.ParseAddr(text)
		if err != nil || families[address.Is6()] {
			return errors.New("want one IP address, or one of each family with a comma between")
		}
		families[address.Is6()] = true
	}
	return nil
}

// validateUpstream refuses what CoreDNS would take for a file name, and loopback addresses:
// in the pod they are CoreDNS itself.
func validateUpstream(upstream string) error {
	addr, err := netip.ParseAddr(upstream)
	if err != nil {
		withPort, portErr := netip.ParseAddrPort(upstream)
		if portErr != nil {
			return fmt.Errorf("upstream resolver %q: want an IP address, or address:port", upstream)
		}
		addr = withPort.Addr()
	}
	if addr.IsLoopback() || addr.IsUnspecified() {
		return fmt.Errorf("upstream resolver %q cannot be reached from a pod: give the address of the resolver behind it", upstream)
	}
	return nil
}

// indent puts n spaces before each line that is not empty, and drops the last newline.
func indent(n int, text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.Repeat(" ", n) + line
		}
	}
	return strings.Join(lines, "\n")
}
