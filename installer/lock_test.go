package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// The second of two installs says who has the lock, and since when; with Wait it begins when the first has ended.
func TestTwoInstallsAtOnce(t *testing.T) {
	s := newSite(t)
	s.build(t, "a.airgap", s.content(t, "1.0.0"), s.key)
	first := s.options("a.airgap")
	reached, goOn := make(chan struct{}), make(chan struct{})
	first.fault = func(point string) error {
		if point == "import begins" {
			close(reached)
			<-goOn
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := Run(context.Background(), first)
		done <- err
	}()
	<-reached

	second := s.options("a.airgap")
	_, err := Run(context.Background(), second)
	if want := fmt.Sprintf("process %d, since 20", os.Getpid()); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), want) {
		t.Errorf("a second install: %v, want %q", err, want)
	}
	second.facts, second.host = gatherFacts, hostinfo.This()
	findings, err := Check(context.Background(), second)
	if err == nil || len(findings) == 0 || findings[0].Check != "install" || findings[0].Level != preflight.Fail {
		t.Errorf("a check meanwhile: %v, %v", findings, err)
	}

	var out bytes.Buffer
	waiting := s.options("a.airgap")
	waiting.Wait, waiting.Out = true, &out
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := Run(ctx, waiting); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an install that waits: %v", err)
	}
	go func() {
		time.Sleep(2 * lockPoll)
		close(goOn)
	}()
	if _, err := Run(context.Background(), waiting); err != nil {
		t.Errorf("an install that has waited: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("the first: %v", err)
	}
	if !strings.Contains(out.String(), "waiting for another install of "+s.path("data")+" to end: process ") {
		t.Errorf("output:\n%s", out.String())
	}
}

// A lock on a file that was removed, as an undone install removes its folder, is none.
func TestLockOfARemovedFolder(t *testing.T) {
	p := config.PathsOf(t.TempDir())
	if err := os.MkdirAll(p.Install(), 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := acquireLock(p)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := acquireLock(p); !errors.Is(err, ErrBusy) {
		t.Fatalf("a second lock: %v", err)
	}
	if err := os.RemoveAll(p.Install()); err != nil {
		t.Fatal(err)
	}
	if h, err := lockHolder(p); h != nil || err != nil {
		t.Errorf("holder of no file: %v, %v", h, err)
	}
	if err := os.MkdirAll(p.Install(), 0o755); err != nil {
		t.Fatal(err)
	}
	second, err := acquireLock(p)
	if err != nil || !isAt(second, lockFile(p)) {
		t.Fatalf("a lock after that: %v", err)
	}
	second.Close()
}
