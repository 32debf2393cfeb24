package apitest

import "testing"

func TestWaitForReturnsWhenItIsSo(t *testing.T) {
	asked := 0
	WaitFor(t, "the third question", func() bool { asked++; return asked == 3 }, func() { t.Error("explained what came to pass") })
	if asked != 3 {
		t.Errorf("asked %d times, want 3", asked)
	}
}

func TestConfigSkipsWithoutAServer(t *testing.T) {
	var skipped bool
	t.Run("skips", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		Config(t, "")
	})
	if !skipped {
		t.Error("not skipped")
	}
}
