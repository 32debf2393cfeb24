package join

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"airgap/internal/site"
	"airgap/node/config"
	"airgap/node/pki"
)

const (
	// maxAddressesOfNode is how many addresses a node's certificate can name.
	maxAddressesOfNode = 16
	// A password has minPasswordHex hex digits, 128 bits, or more.
	minPasswordHex = 32
	maxPasswordHex = 128
	maxVersion     = 64 // bytes
	// maxSkew is how many minor versions a kubelet may be behind the API server (kubernetes.io/releases/version-skew-policy).
	maxSkew = 3
)

// invalid is a request that makes no sense whoever sends it.
func invalid(format string, args ...any) *site.Error {
	return refusal(http.StatusBadRequest, site.CodeRequest, format, args...)
}

// joining is a join request that makes sense.
type joining struct {
	site.JoinRequest
	addresses []netip.Addr
	keys      pki.NodeKeys // all four
}

// parseJoin reads a join request. The version is checked by checkVersion: it depends on the server.
func parseJoin(body []byte) (*joining, error) {
	var j joining
	if err := json.Unmarshal(body, &j.JoinRequest); err != nil {
		return nil, invalid("the request is no JSON of a join: %v", err)
	}
	if !config.ValidNodeName(j.NodeName) {
		return nil, invalid("node name %.80q: want a lower-case DNS name of at most 63 characters", j.NodeName)
	}
	if _, err := hex.DecodeString(j.Password); err != nil || len(j.Password) < minPasswordHex || len(j.Password) > maxPasswordHex {
		return nil, invalid("the password of the node's name has %d characters; want %d to %d hex digits", len(j.Password), minPasswordHex, maxPasswordHex)
	}
	if j.PeerPort < 1 || j.PeerPort > 65535 {
		return nil, invalid("peer port: %d is no port", j.PeerPort)
	}
	for _, text := range []string{j.Airgap, j.Platform} {
		if len(text) > maxVersion || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, invalid("version or platform %.80q: want at most %d printable characters", text, maxVersion)
		}
	}
	for _, hash := range []string{j.MachineID, j.HostKeys} {
		if raw, err := hex.DecodeString(hash); err != nil || len(raw) != 0 && len(raw) != 32 {
			return nil, invalid("what tells a clone, %.80q, is no SHA-256 in hex", hash)
		}
	}
	var err error
	if j.addresses, err = parseAddresses(j.Addresses); err != nil {
		return nil, err
	}
	if j.keys, err = parseKeys(j.PublicKeys); err != nil {
		return nil, err
	}
	if j.keys.Kubelet == nil || j.keys.Serving == nil || j.keys.Proxy == nil || j.keys.NetworkPolicy == nil {
		return nil, invalid("a public key is missing: a node needs certificates for kubelet, kubeletServing, kubeProxy and networkPolicy")
	}
	return &j, nil
}

// renewing is a renewal that makes sense.
type renewing struct {
	password  string
	addresses []netip.Addr // at least one if a serving certificate is wanted
	keys      pki.NodeKeys // none: the node asks for the authorities, and whether it still is one
}

func parseRenew(body []byte) (r renewing, err error) {
	var request site.RenewRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return r, invalid("the request is no JSON of a renewal: %v", err)
	}
	if r.keys, err = parseKeys(request.PublicKeys); err != nil {
		return r, err
	}
	r.password = request.Password
	if r.keys.Serving != nil || len(request.Addresses) > 0 {
		r.addresses, err = parseAddresses(request.Addresses)
	}
	return r, err
}

// parseAddresses reads the addresses of a node: those that other machines can reach.
func parseAddresses(texts []string) ([]netip.Addr, error) {
	if len(texts) == 0 || len(texts) > maxAddressesOfNode {
		return nil, invalid("%d addresses: want 1 to %d", len(texts), maxAddressesOfNode)
	}
	var list []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		a = a.Unmap()
		if err != nil || a.Zone() != "" || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() ||
			a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return nil, invalid("%.80q is no IP address that other machines can reach a node by; give one with --node-ip", text)
		}
		list = append(list, a)
	}
	return list, nil
}

func parseKeys(texts site.PublicKeys) (keys pki.NodeKeys, err error) {
	for _, k := range []struct {
		name, text string
		key        *crypto.PublicKey
	}{
		{"kubelet", texts.Kubelet, &keys.Kubelet}, {"kubeletServing", texts.Serving, &keys.Serving},
		{"kubeProxy", texts.Proxy, &keys.Proxy}, {"networkPolicy", texts.NetworkPolicy, &keys.NetworkPolicy},
	} {
		if k.text == "" {
			continue
		}
		key, err := site.ParsePublicKey(k.text)
		if err != nil {
			return pki.NodeKeys{}, invalid("public key %s: %v", k.name, err)
		}
		if ec, ok := key.(*ecdsa.PublicKey); !ok || ec.Curve != elliptic.P256() {
			return pki.NodeKeys{}, invalid("public key %s: want one of the curve P-256", k.name)
		}
		*k.key = key
	}
	return keys, nil
}

// checkVersion refuses a kubelet that does not go with the API server: one of a later minor version, or of one more than
// maxSkew before.
func checkVersion(kubelet, apiServer string) error {
	want, err := version.ParseSemantic(apiServer)
	if err != nil {
		return err
	}
	refused := func(why string) error {
		return refusal(http.StatusConflict, site.CodeVersion,
			"Kubernetes %.64q on this machine and %s on the server do not go together: %s", kubelet, apiServer, why)
	}
	have, err := version.ParseSemantic(kubelet)
	switch {
	case err != nil || len(kubelet) > maxVersion:
		return refused("that is no version")
	case have.Major() != want.Major():
		return refused("install the server's version of airgap here")
	case have.Minor() > want.Minor():
		return refused("a node must not be newer than its server; upgrade the server first, or install its version of airgap here")
	case have.Minor()+maxSkew < want.Minor():
		return refused("a node may be at most three minor versions behind its server; install the server's version of airgap here")
	}
	return nil
}
