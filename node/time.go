package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"k8s.io/klog/v2"

	"airgap/internal/clock"
	"airgap/node/config"
)

// clockInterval is how often the time is written down: a machine without a battery loses so much at a power cut.
const clockInterval = 10 * time.Minute

// raiseClock sets a clock that is behind what is certain, before certificates are judged by it. A clock that cannot be set keeps no
// node from starting.
func raiseClock(paths config.Paths) {
	o := clock.Options{File: paths.Clock()}
	if info, err := os.Stat(clock.SystemEpoch); err == nil {
		o.Floors = append(o.Floors, info.ModTime())
	}
	if issued, err := issuedAt(paths.Accepted()); err == nil {
		o.Floors = append(o.Floors, issued...)
	}
	raised, err := clock.Raise(o)
	switch {
	case err != nil:
		klog.ErrorS(err, "the clock is wrong")
	case !raised.To.IsZero():
		klog.InfoS("the clock was behind and has been raised; if it was right, set it while the node runs", "from", raised.From.UTC(), "to", raised.To.UTC())
	}
}

// issuedAt lists when the bundles that the machine has accepted were made.
func issuedAt(file string) ([]time.Time, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var accepted map[string]struct {
		Issued time.Time `json:"issued"`
	}
	if err := json.Unmarshal(data, &accepted); err != nil {
		return nil, err
	}
	var list []time.Time
	for _, a := range accepted {
		list = append(list, a.Issued)
	}
	return list, nil
}

// keepClock writes the time down while the node runs, and ends the node when somebody sets the clock by hours: its certificates and
// the tokens of its pods are of another time then, and a start makes them anew.
func keepClock(ctx context.Context, paths config.Paths, again context.CancelCauseFunc) {
	if err := os.MkdirAll(paths.Agent(), 0o700); err != nil {
		klog.ErrorS(err, "the time cannot be kept")
		return
	}
	err := clock.Keep(ctx, paths.Clock(), clockInterval, func(by time.Duration) {
		again(fmt.Errorf("the clock was set by %s: starting again, with certificates and tokens of the new time", by.Round(time.Second)))
	})
	if err != nil && ctx.Err() == nil {
		klog.ErrorS(err, "the time cannot be kept")
	}
}
