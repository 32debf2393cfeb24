package child

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func shell(t *testing.T, script string) Spec {
	t.Helper()
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Name: "test", Path: path, Args: []string{"sh", "-c", script}, Env: os.Environ(), Stop: 300 * time.Millisecond}
}

func TestRunRestartsWhatEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "starts")
	ctx, cancel := context.WithCancel(context.Background())
	reports := 0
	s := shell(t, "echo start >> "+file+"; exit 3")
	s.Report = func(string, ...any) {
		if reports++; reports == 2 {
			cancel()
		}
	}
	if err := Run(ctx, s); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "start"); n != 2 {
		t.Errorf("started %d times, want 2", n)
	}
}

func TestRunKillsWhatIgnoresSIGTERM(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	started := time.Now()
	if err := Run(ctx, shell(t, "trap '' TERM; while :; do sleep 0.05; done")); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > 3*time.Second || took < 400*time.Millisecond {
		t.Errorf("stopping took %s, want about 0.5 s", took)
	}
}

func TestRunAbortsWhatHangs(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	abort := make(chan struct{}, 1)
	abort <- struct{}{}
	s := shell(t, "trap 'exit 9' ABRT; while :; do sleep 0.05; done")
	s.Abort = abort
	var reported string
	s.Report = func(format string, args ...any) {
		reported = fmt.Sprintf(format, args...)
		cancel()
	}
	if err := Run(ctx, s); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(reported, "starting it again") {
		t.Errorf("reported %q", reported)
	}
}

func TestRunReportsWhatCannotStart(t *testing.T) {
	err := Run(context.Background(), Spec{Name: "ghost", Path: "/nonexistent", Args: []string{"ghost"}})
	if err == nil || !strings.Contains(err.Error(), "ghost") {
		t.Fatalf("got %v, want an error that names the process", err)
	}
}
