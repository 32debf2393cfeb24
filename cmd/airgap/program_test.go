package main

import (
	"os"
	"testing"
	"time"

	"airgap/internal/program"
)

// TestDeskVerbs holds that the verbs which the launcher gives to the desk's program are there, in it and in the whole one.
func TestDeskVerbs(t *testing.T) {
	root := newRoot(&env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv, now: time.Now})
	for _, verb := range program.DeskVerbs() {
		found, rest, err := root.Find([]string{verb})
		if err != nil || found == root || len(rest) > 0 {
			t.Errorf("%s: no such verb in this build: %v", verb, err)
		}
	}
}
