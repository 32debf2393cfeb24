package flannel

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"airgap/node/config"
)

const (
	// restoreDelay lets whoever reloads a firewall finish before the rules are looked at again.
	restoreDelay = 300 * time.Millisecond
	// resubscribeDelay is between attempts to listen, should the kernel not let us.
	resubscribeDelay = 10 * time.Second
)

// keep restores the rules whenever someone has removed them, until ctx is done. It sleeps while
// nobody changes the firewall.
func (r *rules) keep(ctx context.Context) {
	changed := make(chan struct{}, 1)
	go func() {
		for ctx.Err() == nil {
			if err := r.listen(ctx, changed); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "cannot follow the firewall; trying again", "after", resubscribeDelay)
			}
			sleep(ctx, resubscribeDelay)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		sleep(ctx, restoreDelay)
		restored, err := r.restore(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			klog.ErrorS(err, "the firewall's rules for pods are gone and cannot be restored; trying again")
			sleep(ctx, time.Second)
			notify(changed)
		case restored:
			klog.InfoS("someone had removed the firewall's rules for pods; they are back")
		}
	}
}

// listen signals every change of nf_tables that may be to our rules.
func (r *rules) listen(ctx context.Context, changed chan<- struct{}) error {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, socket.Close)() // which ends Receive
	notify(changed)                              // what happened before we listened
	for ctx.Err() == nil {
		messages, _, err := socket.Receive()
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS): // more changes at once than the socket holds
			notify(changed)
			continue
		case err != nil:
			return err
		}
		for _, m := range messages {
			if r.concerns(m.Header.Type, m.Data) {
				notify(changed)
			}
		}
	}
	return nil
}

// concerns says whether a message of nf_tables (linux/netfilter/nf_tables.h) may be about our rules: something
// was deleted in our table, or in one that holds rules of ours, or a chain was made or changed elsewhere. kube-proxy and the
// network policies change their own tables all the time, and make no chains that drop by default.
func (r *rules) concerns(kind uint16, data []byte) bool {
	if kind>>8 != unix.NFNL_SUBSYS_NFTABLES || len(data) < nl.SizeofNfgenmsg {
		return false
	}
	attributes, err := nl.ParseRouteAttr(data[nl.SizeofNfgenmsg:])
	if err != nil {
		return true
	}
	var table string
	for _, a := range attributes {
		// NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and NFTA_RULE_TABLE are the same number.
		if a.Attr.Type&nl.NLA_TYPE_MASK == unix.NFTA_TABLE_NAME {
			table = string(bytes.TrimRight(a.Value, "\x00"))
		}
	}
	family := map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet"}[data[0]]
	switch kind & 0xff {
	case unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE:
		r.mutex.Lock()
		defer r.mutex.Unlock()
		return table == config.PodTable || r.foreign[family+" "+table]
	case unix.NFT_MSG_NEWCHAIN:
		return !slices.Contains([]string{config.PodTable, config.PolicyTable, "kube-proxy"}, table)
	}
	return false
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
