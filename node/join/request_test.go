package join

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"airgap/internal/site"
	"airgap/node/config"
)

// publicKey is one of P-256: the same in each run, so that the fuzzer can repeat what it sees.
const publicKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwPOHoTe25VMC/jaOPVPClOG213Zp
3GKEOJHJI2mC/HybCbchIY1c+3HFLbpX9bsyHO72GKs+dmfuBsVBwVNESw==
-----END PUBLIC KEY-----
`

// What comes from the network is either refused as what it is, or makes sense in every part.
func FuzzParseJoin(f *testing.F) {
	public := site.PublicKeys{Kubelet: publicKey, Serving: publicKey, Proxy: publicKey, NetworkPolicy: publicKey}
	whole, err := json.Marshal(site.JoinRequest{
		NodeName: "n1", Password: strings.Repeat("a1", 16), Addresses: []string{"10.0.0.2", "fd00::2"}, PeerPort: 6446, PublicKeys: public,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"nodeName":"n1","addresses":["::ffff:127.0.0.1"]}`))
	f.Add([]byte(`{"publicKeys":{"kubelet":"-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----"}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var refused *site.Error
		if _, err := parseRenew(body); err != nil && (!errors.As(err, &refused) || refused.Status != 400) {
			t.Errorf("a renewal is refused with %v", err)
		}
		j, err := parseJoin(body)
		if err != nil {
			if !errors.As(err, &refused) || refused.Status != 400 || refused.Code != site.CodeRequest || refused.Message == "" {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if !config.ValidNodeName(j.NodeName) || len(j.Password) < 32 || len(j.addresses) == 0 || j.keys.Kubelet == nil || j.keys.Serving == nil {
			t.Errorf("%q makes sense", body)
		}
		for _, a := range j.addresses {
			if a.IsLoopback() || a.Is4In6() || a.IsUnspecified() {
				t.Errorf("address %s", a)
			}
		}
	})
}

func TestPortsAreTheProtocols(t *testing.T) {
	if config.DefaultPeerPort != site.DefaultPeerPort || config.DefaultLBServerPort != site.DefaultLBPort {
		t.Error("a node's default ports are not those that others of the site expect")
	}
}
