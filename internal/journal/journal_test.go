package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type step struct{ Name string }

// write makes a journal of three records and returns its path and bytes.
func write(t *testing.T) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	j, opened, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(opened.Records) != 0 || opened.Torn || opened.Broken != "" {
		t.Fatalf("new journal: %+v", opened)
	}
	for _, name := range []string{"verify", "import", "switch"} {
		if err := j.Append("done", step{name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func names(t *testing.T, records []Record) string {
	t.Helper()
	var all []string
	for _, r := range records {
		var s step
		if err := r.Decode(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s.Name)
	}
	return strings.Join(all, " ")
}

func TestReopen(t *testing.T) {
	path, _ := write(t)
	j, opened, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, opened.Records); got != "verify import switch" {
		t.Errorf("records = %q", got)
	}
	if err := j.Append("done", step{"start"}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	records, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, records); got != "verify import switch start" {
		t.Errorf("after append: %q", got)
	}
}

// A journal cut at any byte gives the records whose lines are whole, and can be
// appended to.
func TestCutAnywhere(t *testing.T) {
	path, data := write(t)
	for size := range data {
		if err := os.WriteFile(path, data[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		j, opened, err := Open(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
		whole := bytes.Count(data[:size], []byte{'\n'})
		if len(opened.Records) != whole || opened.Broken != "" {
			t.Fatalf("cut at %d: %d records, broken %q; want %d", size, len(opened.Records), opened.Broken, whole)
		}
		if err := j.Append("done", step{"again"}); err != nil {
			t.Fatal(err)
		}
		j.Close()
		records, err := Read(path)
		if err != nil || len(records) != whole+1 {
			t.Fatalf("cut at %d, appended: %d records, %v", size, len(records), err)
		}
	}
}

// A bit flipped anywhere loses no record in front of it; unless it looks like a torn
// last line the damaged file is kept aside.
func TestFlipAnywhere(t *testing.T) {
	path, data := write(t)
	dir := filepath.Dir(path)
	for at := range data {
		damaged := bytes.Clone(data)
		damaged[at] ^= 0x10
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		j, opened, err := Open(path)
		if err != nil {
			t.Fatalf("flip at %d: %v", at, err)
		}
		j.Close()
		before := bytes.Count(data[:at], []byte{'\n'})
		if len(opened.Records) != before {
			t.Fatalf("flip at %d: %d records, want %d", at, len(opened.Records), before)
		}
		if before < 2 && opened.Broken == "" && !opened.Torn {
			t.Fatalf("flip at %d went unnoticed", at)
		}
		if opened.Broken != "" {
			kept, err := os.ReadFile(opened.Broken)
			if err != nil || !bytes.Equal(kept, damaged) {
				t.Fatalf("flip at %d: damaged journal not kept: %v", at, err)
			}
			if filepath.Dir(opened.Broken) != dir {
				t.Fatalf("moved to %s", opened.Broken)
			}
			os.Remove(opened.Broken)
		}
	}
}

func TestBrokenNamesDoNotCollide(t *testing.T) {
	path, data := write(t)
	data[3] ^= 1
	for n := range 3 {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		j, _, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		j.Close()
		found, _ := filepath.Glob(path + ".broken-*")
		if len(found) != n+1 {
			t.Fatalf("after %d damages: %v", n+1, found)
		}
	}
}

func FuzzParse(f *testing.F) {
	line, _ := encode(Record{Kind: "begin", Data: []byte(`{"bundle":"site-a"}`)})
	f.Add(line)
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, good := parse(data)
		if good > len(data) || bytes.Count(data[:good], []byte{'\n'}) < len(records) {
			t.Fatalf("%d records in %d of %d bytes", len(records), good, len(data))
		}
	})
}
