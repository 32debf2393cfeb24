package discovery

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	service  = "_airgap._tcp.local."
	services = "_services._dns-sd._udp.local." // RFC 6763 section 9

	port = 5353
	// maxMessageBytes is RFC 6762's limit of a message, section 17.
	maxMessageBytes = 9000
	maxLabelBytes   = 63
	maxURLBytes     = 200 // a text holds 255, RFC 6763 section 6.1

	ttlSeconds       = 120 // of records that name a host, RFC 6762 section 10
	legacyTTLSeconds = 10  // of those for who asks once, section 6.7
	cacheFlush       = 1 << 15
	unicastResponse  = 1 << 15
)

// Server is one that announces itself.
type Server struct {
	Node   string `json:"node"`   // its name in the cluster
	URL    string `json:"url"`    // "https://10.0.0.1:6443"
	CAHash string `json:"caHash"` // of the cluster's authorities; 64 lower-case hex digits
}

// check refuses what no server of ours announces.
func (s Server) check() error {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "https" || u.Port() == "" || u.User != nil || len(s.URL) > maxURLBytes || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is no https://address:port", s.URL)
	}
	if hash, err := hex.DecodeString(s.CAHash); err != nil || len(hash) != 32 || s.CAHash != strings.ToLower(s.CAHash) {
		return fmt.Errorf("%q is no SHA-256", s.CAHash)
	}
	if s.Node == "" || len(s.Node) > maxLabelBytes || strings.ContainsFunc(s.Node, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return fmt.Errorf("%q is no name of a node that can be announced", s.Node)
	}
	return nil
}

// instance is the name of the service's instance. A node's name may have dots, which are part of the
// label here; dnsmessage has no way to write them, so they are written as hyphens and the name is told in a text.
func (s Server) instance() string {
	return strings.ReplaceAll(s.Node, ".", "-") + "." + service
}

func (s Server) texts() []string {
	return []string{"txtvers=1", "url=" + s.URL, "ca=" + s.CAHash, "node=" + s.Node}
}

// question is the packet that asks who there is.
func question(id uint16) ([]byte, error) {
	name, err := dnsmessage.NewName(service)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id}, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}}}
	return m.Pack()
}

// answer is the packet with which a server answers another, and whether it goes to the one who asked alone; nil if it is not
// for us. Addresses are those of the server on the interface.
func (s Server) answer(packet []byte, fromPort int, addresses []netip.Addr) (reply []byte, unicast bool, err error) {
	var asked dnsmessage.Message
	if err := asked.Unpack(packet); err != nil {
		return nil, false, err
	}
	if asked.Response || asked.OpCode != 0 || asked.RCode != 0 {
		return nil, false, nil
	}
	legacy := fromPort != port
	reply, unicast = nil, legacy
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	ttl := uint32(ttlSeconds)
	if legacy {
		m.ID, ttl = asked.ID, legacyTTLSeconds
	}
	for _, q := range asked.Questions {
		records, err := s.records(q, addresses, ttl, legacy)
		if err != nil {
			return nil, false, err
		}
		if len(records) == 0 {
			continue
		}
		unicast = unicast || q.Class&unicastResponse != 0
		if legacy {
			m.Questions = append(m.Questions, q)
		}
		m.Answers = append(m.Answers, records[0])
		m.Additionals = append(m.Additionals, records[1:]...)
	}
	if len(m.Answers) == 0 {
		return nil, false, nil
	}
	reply, err = m.Pack()
	return reply, unicast, err
}

// records are the answer to a question, the first, and what goes with it.
func (s Server) records(q dnsmessage.Question, addresses []netip.Addr, ttl uint32, legacy bool) ([]dnsmessage.Resource, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return nil, err
	}
	names := map[string]dnsmessage.Name{}
	host := strings.TrimSuffix(s.instance(), "."+service) + ".local."
	for _, name := range []string{service, services, s.instance(), host} {
		if names[name], err = dnsmessage.NewName(name); err != nil {
			return nil, err
		}
	}
	record := func(name string, shared bool, body dnsmessage.ResourceBody) dnsmessage.Resource {
		class := dnsmessage.ClassINET
		if !shared && !legacy {
			class |= cacheFlush
		}
		return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: names[name], Class: class, TTL: ttl}, Body: body}
	}
	srv := record(s.instance(), false, &dnsmessage.SRVResource{Port: uint16(number), Target: names[host]})
	txt := record(s.instance(), false, &dnsmessage.TXTResource{TXT: s.texts()})
	var hosts []dnsmessage.Resource
	for _, a := range addresses {
		if a.Is4() {
			hosts = append(hosts, record(host, false, &dnsmessage.AResource{A: a.As4()}))
		} else {
			hosts = append(hosts, record(host, false, &dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	wants := func(t dnsmessage.Type) bool { return q.Type == t || q.Type == dnsmessage.TypeALL }
	switch strings.ToLower(q.Name.String()) {
	case service:
		if wants(dnsmessage.TypePTR) {
			ptr := record(service, true, &dnsmessage.PTRResource{PTR: names[s.instance()]})
			return append([]dnsmessage.Resource{ptr, srv, txt}, hosts...), nil
		}
	case services:
		if wants(dnsmessage.TypePTR) {
			return []dnsmessage.Resource{record(services, true, &dnsmessage.PTRResource{PTR: names[service]})}, nil
		}
	case strings.ToLower(s.instance()):
		switch {
		case wants(dnsmessage.TypeSRV):
			return append([]dnsmessage.Resource{srv, txt}, hosts...), nil
		case wants(dnsmessage.TypeTXT):
			return []dnsmessage.Resource{txt}, nil
		}
	case strings.ToLower(host):
		if q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA || q.Type == dnsmessage.TypeALL {
			return hosts, nil
		}
	}
	return nil, nil
}

// errNoAnswer says that a packet is none that answers us.
var errNoAnswer = errors.New("no answer to the question")

// parse reads the servers out of an answer to a question with this ID.
func parse(packet []byte, id uint16) ([]Server, error) {
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		return nil, err
	}
	if !m.Response || m.RCode != 0 || m.ID != id {
		return nil, errNoAnswer
	}
	var found []Server
	for _, r := range append(m.Answers, m.Additionals...) {
		txt, ok := r.Body.(*dnsmessage.TXTResource)
		if !ok || !strings.HasSuffix(strings.ToLower(r.Header.Name.String()), "."+service) {
			continue
		}
		texts := map[string]string{}
		for _, text := range txt.TXT {
			key, value, _ := strings.Cut(text, "=")
			if _, twice := texts[strings.ToLower(key)]; !twice { // RFC 6763 section 6.4: the first counts
				texts[strings.ToLower(key)] = value
			}
		}
		s := Server{Node: texts["node"], URL: texts["url"], CAHash: texts["ca"]}
		if texts["txtvers"] != "1" || s.check() != nil {
			continue
		}
		found = append(found, s)
	}
	if len(found) == 0 {
		return nil, errNoAnswer
	}
	return found, nil
}
