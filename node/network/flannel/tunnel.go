package flannel

import (
	"context"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// tunnelDelay is how long the backend has to set up an interface that it has made again.
const tunnelDelay = time.Second

// followTunnels has the routes to all nodes made again when an interface of Flannel's has been: someone removed it, and
// with it went its routes. The vxlan backend makes the interface again by itself, and only that.
func followTunnels(ctx context.Context, again chan<- struct{}) {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		klog.ErrorS(err, "cannot follow the network's interfaces: a tunnel that is removed comes back without its routes")
		<-ctx.Done()
		return
	}
	removed := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case update, ok := <-updates:
			if !ok {
				<-ctx.Done()
				return
			}
			name := update.Attrs().Name
			switch {
			case !strings.HasPrefix(name, "flannel"):
			case update.Header.Type == unix.RTM_DELLINK:
				removed[name] = true
			case removed[name] && update.IfInfomsg.Flags&unix.IFF_UP != 0:
				delete(removed, name)
				sleep(ctx, tunnelDelay)
				notify(again)
			}
		}
	}
}
