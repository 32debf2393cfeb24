package installer

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// A list that has changed while the kernel told it is asked for again, and is not taken for a failure or for the whole.
func TestWholeList(t *testing.T) {
	asked := 0
	got, err := whole(func() ([]int, error) {
		if asked++; asked < 4 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || !slices.Equal(got, []int{1, 2}) || asked != 4 {
		t.Errorf("%v, %v after %d requests, want the fourth answer", got, err, asked)
	}
	failure := errors.New("no such device")
	if _, err := whole(func() ([]int, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("%v, want what the kernel says", err)
	}
	if _, err := whole(func() ([]int, error) { return nil, netlink.ErrDumpInterrupted }); !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Errorf("%v, want an end", err)
	}
}
