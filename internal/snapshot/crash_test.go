package snapshot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a child process of the tests does, and on which folder.
const (
	childVariable = "AIRGAP_TEST_SNAPSHOT"
	childWrites   = "write"
	childSaves    = "save"
	childRestores = "restore"
)

// TestMain is also the program of the processes that are killed.
func TestMain(m *testing.M) {
	task, dir, _ := strings.Cut(os.Getenv(childVariable), " ")
	if task == "" {
		os.Exit(m.Run())
	}
	if err := childTask(task, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func childTask(task, dir string) error {
	var t testing.T
	s := &server{t: &t, dir: dir, database: filepath.Join(dir, "db", "state.db"), parts: map[string]string{"tls": filepath.Join(dir, "tls"), "token": filepath.Join(dir, "token")}}
	switch task {
	case childWrites:
		db := s.open()
		for n := 1; ; n++ {
			addRow(&t, db)
			fmt.Println(n)
		}
	case childSaves:
		fmt.Println("begins")
		for {
			if _, err := Save(context.Background(), s.options()); err != nil {
				return err
			}
		}
	case childRestores:
		fmt.Println("begins")
		list, err := List(s.options().Folder)
		if err != nil {
			return err
		}
		_, err = s.restore(list[0].File)
		return err
	}
	return fmt.Errorf("no task %q", task)
}

// child starts a task in another process, and waits for its first line.
func (s *server) child(task string) (lines *bufio.Scanner, kill func()) {
	s.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+task+" "+s.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines = bufio.NewScanner(out)
	if !lines.Scan() {
		s.t.Fatalf("%s: said nothing: %v", task, lines.Err())
	}
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	s.t.Cleanup(kill)
	return lines, kill
}

// TestSaveWhileAnotherProcessWrites shows that each snapshot is the datastore at one moment, with all that
// was acknowledged before it was begun.
func TestSaveWhileAnotherProcessWrites(t *testing.T) {
	s := newServer(t, 3000) // 10 MB, so that a copy takes a while
	acknowledged := make(chan int)
	lines, kill := s.child(childWrites)
	go func() {
		defer close(acknowledged)
		for n := 1; lines.Scan(); n++ {
			select {
			case acknowledged <- n:
			default:
			}
		}
	}()
	elsewhere := newServer(t, 0)
	last := 0
	for range 5 {
		before := <-acknowledged
		info := s.save()
		if _, err := elsewhere.restore(info.File); err != nil {
			t.Fatal(err)
		}
		n := rows(t, elsewhere.database)
		if n < 3000+before || n <= last {
			t.Errorf("%d rows; %d had been acknowledged, and %d were in the snapshot before", n, 3000+before, last)
		}
		last = n
	}
	kill()
	rows(t, s.database)
}

func TestKilledWhileSaving(t *testing.T) {
	s := newServer(t, 500)
	folder := s.options().Folder
	for range 25 {
		_, kill := s.child(childSaves)
		time.Sleep(rand.N(60 * time.Millisecond))
		kill()
		list, err := List(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range list {
			if err := Verify(context.Background(), info.File); err != nil || info.Error != "" {
				t.Fatalf("%s has its name and is not whole: %v %s", info.Name, err, info.Error)
			}
			if err := Delete(folder, info.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.save()
	if files, err := os.ReadDir(folder); err != nil || len(files) != 1 {
		t.Errorf("%v, %v: want the one snapshot", files, err)
	}
	rows(t, s.database)
}

// TestKilledWhileRestoring kills a restore at any moment: before the next start everything is of the snapshot or nothing is.
func TestKilledWhileRestoring(t *testing.T) {
	s := newServer(t, 100)
	s.save()
	replaced := 0
	for range 40 {
		s.restart("new", 10)
		was := rows(t, s.database)
		_, kill := s.child(childRestores)
		time.Sleep(rand.N(40 * time.Millisecond))
		kill()
		if s.consistent(was, 100) {
			replaced++
		}
		// The next round begins with what the snapshot is not.
		folders, _ := filepath.Glob(filepath.Join(filepath.Dir(s.database), "replaced-*"))
		for _, folder := range folders {
			os.RemoveAll(folder)
		}
	}
	t.Logf("%d of 40 had begun to replace", replaced)
}

// restart is a server that starts, writes and is killed: its last writes are in the log.
func (s *server) restart(token string, writes int) {
	s.t.Helper()
	if _, err := Resume(filepath.Dir(s.database)); err != nil {
		s.t.Fatal(err)
	}
	db := s.open()
	for range writes {
		addRow(s.t, db)
	}
	wal, err := os.ReadFile(s.database + "-wal")
	db.Close()
	if err == nil {
		err = os.WriteFile(s.database+"-wal", wal, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.file("token", token, 0o600)
	s.file("tls/ca.key", token, 0o600)
}

// consistent resumes and says whether everything is of the snapshot; else everything must be as it was.
func (s *server) consistent(was, saved int) (replaced bool) {
	s.t.Helper()
	dir := filepath.Dir(s.database)
	if _, err := Resume(dir); err != nil {
		s.t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, journalName)); !errors.Is(err, fs.ErrNotExist) {
		s.t.Errorf("the restore is not finished: %v", err)
	}
	replaced = s.content("token") == "the token"
	want := map[bool]int{true: saved, false: was}[replaced]
	if n := rows(s.t, s.database); n != want {
		s.t.Errorf("%d rows, want %d", n, want)
	}
	if key := s.content("tls/ca.key"); (key == "the key") != replaced || key == "" {
		s.t.Errorf("the key is %q where the token is %q", key, s.content("token"))
	}
	if replaced {
		kept, _ := filepath.Glob(filepath.Join(dir, "replaced-*"))
		if len(kept) != 1 {
			s.t.Fatalf("%d folders of what was replaced", len(kept))
		}
		if n := rows(s.t, filepath.Join(kept[0], "state.db")); n != was {
			s.t.Errorf("%d rows are kept of what was replaced, want %d", n, was)
		}
	}
	return replaced
}

// TestResumeAfterEachRename stops a restore after each of its renames, and before the next.
func TestResumeAfterEachRename(t *testing.T) {
	for stop := 0; ; stop++ {
		s := newServer(t, 10)
		info := s.save()
		s.restart("new", 5)
		if !s.restoreUntil(info, stop) {
			if stop < 6 {
				t.Fatalf("a restore makes %d renames", stop)
			}
			return
		}
		if !s.consistent(15, 10) {
			t.Errorf("stopped after %d renames: nothing was replaced", stop)
		}
	}
}

// restoreUntil does what Restore does, up to a number of renames; false if there are no more.
func (s *server) restoreUntil(info Info, stop int) bool {
	s.t.Helper()
	dir := filepath.Dir(s.database)
	r, err := openArchive(info.File)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.close()
	staging, aside := filepath.Join(dir, stagingName), filepath.Join(dir, "replaced-x")
	if err := stage(context.Background(), r, staging); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Mkdir(aside, 0o700); err != nil {
		s.t.Fatal(err)
	}
	o := RestoreOptions{Database: s.database, Parts: s.parts}
	plan := swap{Snapshot: info.Name, Aside: aside, Moves: o.moves(staging, aside)}
	data, err := json.Marshal(plan)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, journalName), data, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range plan.Moves {
		for _, step := range []struct{ from, to string }{{m.Target, m.Aside}, {m.Staged, m.Target}} {
			if _, err := os.Lstat(step.from); step.from == "" || err != nil {
				continue
			}
			if stop == 0 {
				return true
			}
			stop--
			if err := os.Rename(step.from, step.to); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return false
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a small file system")
	}
	s := newServer(t, 1500) // 5 MB that cannot be compressed
	mount := func(size string) string {
		folder := t.TempDir()
		if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size="+size); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
		return folder
	}
	o := s.options()
	t.Run("before", func(t *testing.T) {
		o := o
		o.Folder = mount("2m")
		o.Scratch = t.TempDir()
		refused(t, o)
	})
	t.Run("during", func(t *testing.T) {
		o := o
		o.Folder = mount("4m") // enough if it could be compressed
		o.Scratch = t.TempDir()
		refused(t, o)
	})
	t.Run("restore", func(t *testing.T) {
		info := s.save()
		target := &server{t: t, dir: mount("8m")}
		target.database = filepath.Join(target.dir, "state.db")
		if _, err := target.restore(info.File); !errors.Is(err, ErrNoSpace) {
			t.Errorf("%v, want ErrNoSpace", err)
		}
		if files, _ := os.ReadDir(target.dir); len(files) > 0 {
			t.Errorf("left over: %v", files)
		}
	})
}

func refused(t *testing.T, o Options) {
	t.Helper()
	_, err := Save(context.Background(), o)
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), o.Folder) {
		t.Errorf("%v, want ErrNoSpace with the folder", err)
	}
	t.Log(err)
	for _, folder := range []string{o.Folder, o.Scratch} {
		if files, _ := os.ReadDir(folder); len(files) > 0 {
			t.Errorf("left over: %v", files)
		}
	}
}

func TestSaveCanBeCancelled(t *testing.T) {
	s := newServer(t, 10)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Save(ctx, s.options()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
	if files, _ := os.ReadDir(s.options().Folder); len(files) > 0 {
		t.Errorf("left over: %v", files)
	}
}
