//go:build !desk

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"k8s.io/klog/v2"

	"airgap/internal/atrest"
)

const (
	// gcPercent trades processor time for memory: the node's processes idle most of the time, and
	// small machines have little to spare. GOGC in the environment overrides it.
	gcPercent = 25
	// edgeServerGCPercent is the server's on the smallest machines. The heaps of agent and containerd are so small that it would
	// collect them every two seconds, for 3 MB each.
	edgeServerGCPercent = 10
	// timerSlack is how late a wait for a time may end. The control plane has hundreds of
	// timers, and each wakes a processor by itself.
	timerSlack = 20 * time.Millisecond
	// restSlack is the same for a process that has next to nothing to do: nobody waits for it then.
	restSlack    = 200 * time.Millisecond
	restInterval = 2 * time.Second
	// monitorSlack is containerd's at rest, for the thread alone that starts no pod.
	monitorSlack = 20 * time.Millisecond
)

// settled is when a process of the node has made what it makes at its start and never again: its
// own parts first, then the add-ons with their kinds. Then it gives back the memory that this took,
// and from then on, at lastSettled's interval, what bursts of work left.
var settled = []time.Duration{45 * time.Second, 2 * time.Minute}

const lastSettled = 5 * time.Minute

// beLight makes a process of the node one that costs little while the cluster is at rest. The
// figures are in docs/decisions/0018. Pods' processes inherit the slack of timers through
// containerd, which calls this with the kernel's own. Where nobody can ask for a profile of the
// heap, none is kept. The collector runs when the heap has grown by percent.
func beLight(slack time.Duration, percent int, profiles bool) {
	if !profiles {
		runtime.MemProfileRate = 0
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	if err := atrest.SetTimerSlack(slack); err != nil {
		klog.V(1).InfoS("the slack of timers cannot be set", "slack", slack, "err", err)
	} else if slack > atrest.NormalTimerSlack {
		go followLoad(atrest.SetTimerSlack, slack, restSlack)
	} else {
		go followLoad(atrest.SetMonitorSlack, slack, monitorSlack)
	}
	go func() {
		for i := 0; ; i++ {
			pause := lastSettled
			if i < len(settled) {
				pause = settled[i]
			}
			time.Sleep(pause)
			debug.FreeOSMemory()
			if _, err := atrest.UnmapUnused(); err != nil {
				klog.V(1).InfoS("what only the start needs stays mapped", "err", err)
			}
		}
	}()
}

// followLoad lets timers end later while the process is at rest, from when its start is done.
func followLoad(set func(time.Duration) error, busy, rest time.Duration) {
	time.Sleep(settled[0])
	if err := atrest.FollowLoad(nil, set, busy, rest, restInterval); err != nil {
		klog.V(1).InfoS("the slack of timers stays as it is", "err", err)
	}
}
