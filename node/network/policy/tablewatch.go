package policy

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// nftablesEvents is the multicast group on which the kernel tells of changes of its tables
// (NFNLGRP_NFTABLES in linux/netfilter/nfnetlink.h).
const nftablesEvents = 7

// settle is how long a burst of changes is waited for before the table is looked at.
const settle = 200 * time.Millisecond

// watchTable signals verify when the table, or one of its hooks' chains, may have lost what it should have: somebody
// deleted from it, or so much changed that the kernel could not tell all of it. Looking is cheap; so it need not know
// this process's own replacement of the table from another's deletion.
func watchTable(ctx context.Context, table string, verify chan<- struct{}) {
	for ctx.Err() == nil {
		if err := watchDeletions(ctx, table, verify); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "the kernel does not tell of changed tables; trying again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
	}
}

func watchDeletions(ctx context.Context, table string, verify chan<- struct{}) error {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, nftablesEvents)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	var pending *time.Timer
	for {
		messages, _, err := socket.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		suspicious := err != nil
		for _, message := range messages {
			suspicious = suspicious || deletes(message, table)
		}
		if !suspicious {
			continue
		}
		if pending != nil {
			pending.Stop()
		}
		pending = time.AfterFunc(settle, func() {
			select {
			case verify <- struct{}{}:
			default:
			}
		})
	}
}

// deletes says whether a message tells that the table was deleted, or a chain of [guarded] or a rule in one.
func deletes(message syscall.NetlinkMessage, table string) bool {
	var chain uint16 // the attribute with the chain's name
	switch message.Header.Type {
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE:
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELCHAIN:
		chain = unix.NFTA_CHAIN_NAME
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELRULE:
		chain = unix.NFTA_RULE_CHAIN
	default:
		return false
	}
	if len(message.Data) < nl.SizeofNfgenmsg || message.Data[0] != unix.NFPROTO_INET {
		return false
	}
	attributes, err := nl.ParseRouteAttr(message.Data[nl.SizeofNfgenmsg:])
	if err != nil {
		return true
	}
	var inTable, inChain bool
	for _, a := range attributes {
		value := string(bytes.TrimRight(a.Value, "\x00"))
		// The table's name has the same number in all three (NFTA_TABLE_NAME, …).
		inTable = inTable || a.Attr.Type == unix.NFTA_TABLE_NAME && value == table
		inChain = inChain || chain != 0 && a.Attr.Type == chain && slices.Contains(guarded, value)
	}
	return inTable && (chain == 0 || inChain)
}
