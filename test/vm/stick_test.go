package vm

import (
	"testing"
)

func TestSticksOfEachFormat(t *testing.T) {
	for _, format := range []Format{FAT32, ExFAT, Ext4} {
		t.Run(string(format), func(t *testing.T) { NewStick(t, format, "stick_test.go") })
	}
}
