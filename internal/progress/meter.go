package progress

import (
	"fmt"
	"time"
)

// rateWindow is about how long the rate shown is the mean over.
const rateWindow = 5 * time.Second

// meter is how far something has come, and how fast it is.
type meter struct {
	label       string
	done, total int64 // bytes; a total of 0 is not known

	sampled     time.Time // when rate was last brought up to date
	sampledDone int64
	rate        float64 // bytes per second, smoothed
}

// sample brings the smoothed rate up to date: an exponential mean whose weight
// depends on the time passed, so that it does not matter how often it is called.
func (m *meter) sample(now time.Time) {
	passed := now.Sub(m.sampled)
	if passed <= 0 {
		return
	}
	latest := float64(m.done-m.sampledDone) / passed.Seconds()
	weight := min(1, passed.Seconds()/rateWindow.Seconds())
	if m.rate == 0 {
		weight = 1
	}
	m.rate += weight * (latest - m.rate)
	m.sampled, m.sampledDone = now, m.done
}

// line is the state of a running transfer.
func (m *meter) line() string {
	rate := fmt.Sprintf("%s/s", Bytes(int64(m.rate)))
	if m.total <= 0 {
		return fmt.Sprintf("%s: %s, %s", m.label, Bytes(m.done), rate)
	}
	line := fmt.Sprintf("%s: %3d %%, %s of %s, %s", m.label, 100*m.done/m.total, Bytes(m.done), Bytes(m.total), rate)
	if m.rate > 0 && m.done < m.total {
		left := time.Duration(float64(m.total-m.done) / m.rate * float64(time.Second))
		line += ", " + seconds(left) + " left"
	}
	return line
}
