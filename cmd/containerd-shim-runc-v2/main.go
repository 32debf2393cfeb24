// Command containerd-shim-runc-v2 is containerd's own shim, one process for each pod, except that
// what it starts gets the kernel's own timer slack: a container's processes inherit that of the
// thread that started them, and threads of containerd may have a longer one (docs/decisions/0018).
package main

import (
	"context"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"

	"airgap/internal/atrest"
)

func main() {
	if err := atrest.SetTimerSlack(atrest.NormalTimerSlack); err != nil && os.Geteuid() == 0 {
		log.L.WithError(err).Warn("the pod's processes inherit a longer timer slack")
	}
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}
