package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// keepName gives a server's node the name that it had at its first start, also when the host is called otherwise since: under
// another name it would be another node, and the first would stay as one that is never ready. --node-name is stronger.
func keepName(a *config.Agent) error {
	host, err := os.Hostname()
	if err != nil && a.NodeName == "" {
		return fmt.Errorf("node name: %w; give one with --node-name", err)
	}
	paths := config.PathsOf(a.DataDir)
	was, err := config.ReadNodeIdentity(paths)
	if err != nil {
		return err
	}
	switch {
	case a.NodeName == "" && was.Name == "":
		if a.NodeName = strings.ToLower(host); !config.ValidNodeName(a.NodeName) {
			return fmt.Errorf("node name: the host's, %q, cannot be a node's; give one with --node-name", host)
		}
	case a.NodeName == "":
		a.NodeName = was.Name
		if was.Host != host {
			klog.InfoS("the host is called otherwise than when the node began, and the node keeps its name", "node", was.Name, "host", host, "was", was.Host)
		}
	case was.Name != "" && was.Name != a.NodeName:
		klog.InfoS("this machine is another node from now on; delete the one that it was: airgap kubectl delete node "+was.Name, "node", a.NodeName, "was", was.Name)
		was = config.NodeIdentity{}
	}
	if was.Name != "" {
		if id := machineID(); id != "" && was.MachineID != "" && id != was.MachineID {
			klog.InfoS("this machine has another machine ID than when the node began: if its disk is a copy of another's, uninstall here and install anew, for two servers must not have one identity", "was", was.MachineID, "is", id)
		}
		return nil
	}
	if err := os.MkdirAll(paths.Agent(), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteJSON(paths.NodeIdentity(), config.NodeIdentity{Name: a.NodeName, Host: host, MachineID: machineID()}, 0o600)
}

// machineID is the machine's, empty if it has none.
func machineID() string {
	data, _ := os.ReadFile("/etc/machine-id")
	return strings.TrimSpace(string(data))
}

// How an address that is gone is told from a cable that is out for a moment.
const (
	addressLooks = 5 * time.Second
	addressGone  = 6 // looks in a row
)

// followAddresses ends the node when it has lost an address of its own finding and has another instead: a start takes that one
// over, in certificates, in the node's object and in the pod network. find returns the addresses as a start would find them.
func followAddresses(ctx context.Context, addresses string, every time.Duration, find func() (string, error), again context.CancelCauseFunc) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for gone := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		here, err := hostinfo.Addresses()
		if err != nil {
			continue
		}
		missing := slices.ContainsFunc(strings.Split(addresses, ","), func(address string) bool {
			return !slices.ContainsFunc(here, func(a netip.Addr) bool { return a.String() == address })
		})
		if !missing {
			gone = 0
			continue
		}
		if gone++; gone < addressGone {
			continue
		}
		if now, err := find(); err == nil && now != addresses {
			again(fmt.Errorf("this machine's address was %s and is %s: starting again with that", addresses, now))
			return
		}
	}
}
