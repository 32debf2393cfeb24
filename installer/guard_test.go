package installer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/node/config"
)

// An install that is killed while the node is stopped leaves it to its guard. One that dismisses the guard, and one that another install
// follows, do not.
func TestGuard(t *testing.T) {
	for name, test := range map[string]struct {
		orders string
		busy   bool
		starts bool
	}{
		"killed":                        {"", false, true},
		"dismissed":                     {".", false, false},
		"killed, and another took over": {"", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{Server: config.NewServer(), Init: InitNone}
			folder, err := os.MkdirTemp("", "ag") // short enough for a data folder
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(folder) })
			opts.Server.DataDir = folder
			p := config.PathsOf(opts.Server.DataDir)
			started := filepath.Join(opts.Server.DataDir, "started")
			for _, folder := range []string{p.Current(), p.Install()} {
				if err := os.MkdirAll(folder, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() { os.RemoveAll(p.Run()) })
			if err := os.WriteFile(filepath.Join(p.Current(), "airgap"), []byte("#!/bin/sh\necho \"$1\" > "+started+".new && mv "+started+".new "+started+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if test.busy {
				lock, err := acquireLock(p)
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Close()
			}
			var said strings.Builder
			if err := Guard(context.Background(), opts, strings.NewReader(test.orders), &said); err != nil {
				t.Fatal(err)
			}
			if (said.Len() > 0) != test.starts {
				t.Errorf("it says %q", &said)
			}
			if !test.starts {
				return // without a word nothing was started
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				verb, err := os.ReadFile(started)
				if err == nil && string(verb) == "supervise\n" {
					return
				}
				if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil || time.Now().After(end) {
					t.Fatalf("no supervisor was started: %q, %v", verb, err)
				}
			}
		})
	}
}
