package servicelb

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"airgap/internal/hostinfo"
)

// machine sees the sockets of the machine that it runs on, in its network namespace.
type machine struct {
	node string // name of the node that this machine is; empty: none
	host hostinfo.Host
}

// look returns what sees the sockets as they are when it is first asked.
func (m machine) look(report func(error)) func(node string, at place) socketState {
	var tcp, udp []hostinfo.Listener
	looked := false
	return func(node string, at place) socketState {
		if m.node == "" || node != m.node {
			return unknown
		}
		if !looked {
			looked = true
			var err error
			if tcp, err = m.host.Listeners(); err != nil {
				report(err)
			}
			if udp, err = m.host.UDPListeners(); err != nil {
				report(err)
			}
		}
		list := tcp
		switch at.port.Protocol {
		case corev1.ProtocolUDP:
			list = udp
		case corev1.ProtocolSCTP:
			return free
		}
		if slices.ContainsFunc(list, func(l hostinfo.Listener) bool { return l.Takes(at.address, int(at.port.Number)) }) {
			return used
		}
		return free
	}
}
