package nxdomain

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/hosts"
	"github.com/miekg/dns"
)

// serve starts CoreDNS with one server block and returns its address.
func serve(t *testing.T, plugins string) string {
	t.Helper()
	caddy.Quiet = true
	instance, err := caddy.Start(caddy.CaddyfileInput{
		Contents: []byte(".:0 {\nbind 127.0.0.1\n" + plugins + "\n}\n"), Filepath: "Corefile", ServerTypeName: "dns",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = instance.Stop() })
	return instance.Servers()[0].LocalAddr().String()
}

func TestNothingElseExists(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "NodeHosts")
	if err := os.WriteFile(hosts, []byte("10.99.0.2 node-1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// nxdomain stands first here, and is asked last.
	address := serve(t, "nxdomain\nhosts "+hosts+" {\nfallthrough\n}")
	for name, want := range map[string]int{"node-1.": dns.RcodeSuccess, "example.com.": dns.RcodeNameError, ".": dns.RcodeNameError} {
		query := new(dns.Msg)
		query.SetQuestion(name, dns.TypeA)
		answer, err := dns.Exchange(query, address)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Rcode != want || !answer.Authoritative {
			t.Errorf("%s: %s", name, answer)
		}
		if want == dns.RcodeNameError && (len(answer.Ns) != 1 || answer.Ns[0].Header().Rrtype != dns.TypeSOA) {
			t.Errorf("%s: no SOA in the answer: %s", name, answer)
		}
	}
}

func TestNoArguments(t *testing.T) {
	for _, text := range []string{"nxdomain example.com", "nxdomain {\n}"} {
		_, err := caddy.Start(caddy.CaddyfileInput{Contents: []byte(".:0 {\n" + text + "\n}\n"), Filepath: "Corefile", ServerTypeName: "dns"})
		if err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
