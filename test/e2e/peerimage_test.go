package e2e

import (
	"strings"
	"testing"
)

// testAgentForeignImage runs, on the second node, an image whose name only the first knows, under imagePullPolicy Always: the
// node has to find it at its peer.
func testAgentForeignImage(t *testing.T, first, _ *node) {
	const name = "only.on.first/team/app:1"
	first.Airgap("ctr", "images", "tag", busyboxImage(t), name)
	pod, _, _ := strings.Cut(pinnedPod, "---")
	pod = strings.NewReplacer("NAME", "foreign", "NODE", "node-2", "BUSYBOX", name+"\n    imagePullPolicy: Always").Replace(pod)
	first.Apply(pod)
	first.Kubectl("wait", "--for=condition=Ready", "pod/foreign", "--timeout=60s")
	first.Kubectl("delete", "pod", "foreign", "--now")
}
