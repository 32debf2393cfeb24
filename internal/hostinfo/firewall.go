package hostinfo

import (
	"encoding/binary"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Firewalls lists the programs that keep a firewall on this machine: "firewalld", "ufw".
func (h Host) Firewalls(processes []Process) []string {
	var found []string
	if slices.ContainsFunc(processes, func(p Process) bool { return p.Name == "firewalld" }) {
		found = append(found, "firewalld")
	}
	for line := range strings.Lines(h.text("/etc/ufw/ufw.conf")) {
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(line), `"`, ""), "ENABLED=yes") {
			found = append(found, "ufw")
		}
	}
	return found
}

// What netfilter calls the way into the machine, and its verdict (linux/netfilter.h).
const (
	hookLocalIn = 1
	verdictDrop = 0
)

// ClosedChains lists the chains of nf_tables in this network namespace, "inet filter input", that drop what comes in
// unless a rule of theirs lets it. Those of iptables-nft are among them. It needs root.
func ClosedChains() ([]string, error) {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	chains, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return nil, err
	}
	families := map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}
	var closed []string
	for _, chain := range chains {
		family, known := families[chain[0]]
		if !known {
			continue
		}
		attributes, err := nl.ParseRouteAttr(chain[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, err
		}
		var table, name string
		in, drops := false, false
		for _, a := range attributes {
			switch int(a.Attr.Type & nl.NLA_TYPE_MASK) {
			case unix.NFTA_CHAIN_TABLE:
				table = nl.BytesToString(a.Value)
			case unix.NFTA_CHAIN_NAME:
				name = nl.BytesToString(a.Value)
			case unix.NFTA_CHAIN_POLICY:
				drops = len(a.Value) == 4 && binary.BigEndian.Uint32(a.Value) == verdictDrop
			case unix.NFTA_CHAIN_HOOK:
				in, err = isHookedTo(a.Value, hookLocalIn)
				if err != nil {
					return nil, err
				}
			}
		}
		if in && drops {
			closed = append(closed, strings.Join([]string{family, table, name}, " "))
		}
	}
	return closed, nil
}

// isHookedTo says whether a chain's attribute NFTA_CHAIN_HOOK names the hook.
func isHookedTo(hook []byte, number uint32) (bool, error) {
	attributes, err := nl.ParseRouteAttr(hook)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(attributes, func(a syscall.NetlinkRouteAttr) bool {
		return int(a.Attr.Type&nl.NLA_TYPE_MASK) == unix.NFTA_HOOK_HOOKNUM && len(a.Value) == 4 && binary.BigEndian.Uint32(a.Value) == number
	}), nil
}
