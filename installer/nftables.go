package installer

import (
	"bytes"
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// remove deletes the table with everything in it. The error is ENOENT if there is none. It asks the
// kernel itself: the node's nft may be gone already.
func (t table) remove() error {
	return change(unix.NFT_MSG_DELTABLE, t.family, nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(t.name)))
}

// removeMarkedRules removes the rules that the node put into the chains of other programs, which carry
// its mark as their comment.
func removeMarkedRules() error {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	rules, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		attributes, err := nl.ParseRouteAttr(rule[nl.SizeofNfgenmsg:])
		if err != nil {
			return err
		}
		var place []nl.NetlinkRequestData // what names the rule: its table, chain and handle
		marked := false
		for _, a := range attributes {
			switch kind := int(a.Attr.Type & nl.NLA_TYPE_MASK); kind {
			case unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN, unix.NFTA_RULE_HANDLE:
				place = append(place, nl.NewRtAttr(kind, a.Value))
			case unix.NFTA_RULE_USERDATA:
				marked = bytes.Contains(a.Value, comment(config.ForwardMarker))
			}
		}
		if !marked {
			continue
		}
		if err := change(unix.NFT_MSG_DELRULE, rule[0], place...); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// comment is a rule's comment as nft keeps it in the rule's user data (libnftnl/udata.h): type, length, text with its
// zero byte.
func comment(text string) []byte {
	return append([]byte{0, byte(len(text) + 1)}, text+"\x00"...)
}

// change asks the kernel for one change of nf_tables and returns its answer.
func change(kind int, family byte, attributes ...nl.NetlinkRequestData) error {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer socket.Close()
	// Changes come in a batch (linux/netfilter/nfnetlink.h); only the change itself asks for an answer.
	begin := batchMessage(unix.NFNL_MSG_BATCH_BEGIN)
	remove := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_ACK)
	remove.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	for _, a := range attributes {
		remove.AddData(a)
	}
	end := batchMessage(unix.NFNL_MSG_BATCH_END)
	var batch []byte
	for _, message := range []*nl.NetlinkRequest{begin, remove, end} {
		batch = append(batch, message.Serialize()...)
	}
	if err := unix.Sendto(socket.GetFd(), batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		answers, _, err := socket.Receive()
		if err != nil {
			return err
		}
		for _, answer := range answers {
			if answer.Header.Type == unix.NLMSG_ERROR && answer.Header.Seq == remove.Seq {
				if code := int32(nl.NativeEndian().Uint32(answer.Data[:4])); code != 0 {
					return unix.Errno(-code)
				}
				return nil
			}
		}
	}
}

func batchMessage(kind int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(kind, 0)
	message := &nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0}
	message.ResId = uint16(unix.NFNL_SUBSYS_NFTABLES)<<8 | uint16(unix.NFNL_SUBSYS_NFTABLES)>>8 // big endian
	request.AddData(message)
	return request
}
