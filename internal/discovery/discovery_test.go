package discovery

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"airgap/test/site"
)

var (
	hashA = strings.Repeat("a", 64)
	hashB = strings.Repeat("b", 64)
	first = Server{Node: "node-1", URL: "https://10.99.0.1:6443", CAHash: hashA}
)

// Variables that make the test's executable one side of the LAN.
const (
	announceVariable = "AIRGAP_TEST_ANNOUNCE" // the Server as JSON
	findVariable     = "AIRGAP_TEST_FIND"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(announceVariable) != "":
		var s Server
		if err := json.Unmarshal([]byte(os.Getenv(announceVariable)), &s); err != nil {
			panic(err)
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		fmt.Println("announcing")
		if err := Announce(ctx, s, func(err error) { fmt.Fprintln(os.Stderr, err) }); err != nil {
			panic(err)
		}
	case os.Getenv(findVariable) != "":
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
		defer stop()
		found, err := Find(ctx, func(s []Server) bool { return len(s) == 2 })
		if err != nil {
			panic(err)
		}
		_ = json.NewEncoder(os.Stdout).Encode(found)
	default:
		os.Exit(m.Run())
	}
}

// Two servers are found by a third machine on a LAN with no way out, and by nobody on another LAN.
func TestFoundOnTheLAN(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lan, elsewhere := site.New(t, "node-1", "node-2", "node-3"), site.New(t, "node-4")
	second := Server{Node: "node-2", URL: "https://10.99.0.2:6443", CAHash: hashB}
	for i, s := range []Server{first, second} {
		data, _ := json.Marshal(s)
		cmd := lan[i].Inside(self)
		cmd.Env = append(os.Environ(), announceVariable+"="+string(data))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(line, err)
		}
		defer func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("the announcement ended with %v", err)
			}
		}()
	}
	find := func(n *site.Node) (found []Server) {
		t.Helper()
		cmd := n.Inside(self)
		cmd.Env = append(os.Environ(), findVariable+"=1")
		if err := json.Unmarshal([]byte(site.MustOutput(t, cmd)), &found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := find(lan[2]); len(found) != 2 || found[0] != first || found[1] != second {
		t.Errorf("found %v", found)
	}
	if found := find(elsewhere[0]); len(found) != 0 {
		t.Errorf("on another LAN: %v", found)
	}
}

func TestAnswers(t *testing.T) {
	addresses := []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")}
	q, err := question(7)
	if err != nil {
		t.Fatal(err)
	}
	reply, unicast, err := first.answer(q, 40000, addresses)
	if err != nil || !unicast {
		t.Fatal(unicast, err)
	}
	if found, err := parse(reply, 7); err != nil || len(found) != 1 || found[0] != first {
		t.Errorf("found %v, %v", found, err)
	}
	if found, err := parse(reply, 8); err == nil {
		t.Errorf("an answer to another question is taken: %v", found)
	}
	var m dnsmessage.Message
	if err := m.Unpack(reply); err != nil || len(m.Questions) != 1 || len(m.Answers) != 1 || len(m.Additionals) != 4 || m.Answers[0].Header.TTL != legacyTTLSeconds {
		t.Errorf("the answer to one who asks once is %+v, %v", m, err)
	}
	reply, unicast, err = first.answer(q, port, addresses)
	if err != nil || unicast || m.Unpack(reply) != nil || len(m.Questions) != 0 || m.ID != 0 || m.Additionals[0].Header.Class&cacheFlush == 0 {
		t.Errorf("the answer to all is %+v, %v, %v", m, unicast, err)
	}
	if reply, _, err := first.answer(reply, port, addresses); reply != nil || err != nil {
		t.Errorf("an answer is answered: %v", err)
	}
	for name, want := range map[string]bool{
		"_AIRGAP._tcp.local.": true, services: true, "node-1._airgap._tcp.local.": true, "node-1.local.": true,
		"_http._tcp.local.": false, "node-2._airgap._tcp.local.": false, ".": false,
	} {
		m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET}}}
		packet, _ := m.Pack()
		if reply, _, err := first.answer(packet, port, addresses); err != nil || (reply != nil) != want {
			t.Errorf("%s is answered: %v, %v", name, reply != nil, err)
		}
	}
}

func TestRefusesNonsense(t *testing.T) {
	for name, s := range map[string]Server{
		"no server":     {},
		"another hash":  {"node-1", first.URL, "abc"},
		"plain HTTP":    {"node-1", "http://10.99.0.1:6443", hashA},
		"no port":       {"node-1", "https://10.99.0.1", hashA},
		"a path":        {"node-1", first.URL + "/x", hashA},
		"a password":    {"node-1", "https://a:b@10.99.0.1:6443", hashA},
		"a long URL":    {"node-1", "https://" + strings.Repeat("a", 250) + ":6443", hashA},
		"control bytes": {"node-1\x1b[2J", first.URL, hashA},
		"a long name":   {strings.Repeat("n", 64), first.URL, hashA},
	} {
		if s.check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := Announce(context.Background(), Server{}, nil); err == nil {
		t.Error("nonsense is announced")
	}
}

func FuzzParse(f *testing.F) {
	q, _ := question(1)
	f.Add(q)
	if reply, _, err := first.answer(q, 40000, nil); err == nil {
		f.Add(reply)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, s := range []uint16{0, 1} {
			found, err := parse(packet, s)
			for _, server := range found {
				if server.check() != nil || err != nil {
					t.Errorf("%v passes, %v", server, err)
				}
			}
		}
		_, _, _ = first.answer(packet, port, nil)
	})
}
