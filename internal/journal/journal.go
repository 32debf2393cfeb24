// Package journal keeps the record of a long operation, so that the operation can
// be continued after it was killed.
//
// A journal is a file of lines, each
//
//	<crc32c of the JSON, 8 hex digits> <JSON of [Record]>\n
//
// [Journal.Append] returns once its line is on the disk (fsync). A process that dies while
// it writes leaves at most one torn last line, which [Open] cuts off: that record was never
// acknowledged. Any other damage is the disk's doing: the damaged file is kept under
// another name and the journal is rebuilt from the records in front of the damage.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"airgap/internal/atomicfile"
)

// MaxBytes bounds a journal that [Open] reads. An install writes about 20 kB.
const MaxBytes = 64 << 20

// Record is one line.
type Record struct {
	Seq  int             `json:"seq"`  // 0, 1, 2 …
	Time time.Time       `json:"time"` // of the machine's clock, which may be wrong
	Kind string          `json:"kind"` // what happened; the caller's word
	Data json.RawMessage `json:"data,omitempty"`
}

// Decode unmarshals the record's data into v.
func (r Record) Decode(v any) error {
	if err := json.Unmarshal(r.Data, v); err != nil {
		return fmt.Errorf("journal record %d (%s): %w", r.Seq, r.Kind, err)
	}
	return nil
}

// Journal is open for appending. Its methods must not be called concurrently.
type Journal struct {
	file *os.File
	next int
}

// Opened tells what [Open] found.
type Opened struct {
	Records []Record
	Torn    bool   // an unacknowledged last line was cut off
	Broken  string // where a damaged journal was moved; empty if it was sound
}

// Open opens the journal at path, which it creates if there is none; its folder
// must exist.
func Open(path string) (*Journal, *Opened, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	opened := &Opened{}
	var good int
	opened.Records, good = parse(data)
	switch rest := data[good:]; {
	case len(rest) == 0:
	case bytes.IndexByte(rest, '\n') < 0 || bytes.IndexByte(rest, '\n') == len(rest)-1:
		opened.Torn = true
		if err := os.Truncate(path, int64(good)); err != nil {
			return nil, nil, fmt.Errorf("journal: %w", err)
		}
	default:
		if opened.Broken, err = setAside(path); err != nil {
			return nil, nil, err
		}
		if err := atomicfile.Write(path, data[:good], 0o600); err != nil {
			return nil, nil, fmt.Errorf("journal: rebuild %s: %w", path, err)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	err = errors.Join(file.Sync(), atomicfile.SyncDir(filepath.Dir(path)))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), file.Close())
	}
	return &Journal{file: file, next: len(opened.Records)}, opened, nil
}

// Read returns the sound records of the journal at path without touching the file. A
// journal that does not exist has none.
func Read(path string) ([]Record, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	records, _ := parse(data)
	return records, nil
}

// Append writes a record and returns once it is on the disk. data is encoded
// as JSON; nil writes none.
func (j *Journal) Append(kind string, data any) error {
	record := Record{Seq: j.next, Time: time.Now().UTC(), Kind: kind}
	if data != nil {
		raw, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("journal record %s: %w", kind, err)
		}
		record.Data = raw
	}
	line, err := encode(record)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(line); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.next++
	return nil
}

// Close closes the file. Everything appended is on the disk already.
func (j *Journal) Close() error { return j.file.Close() }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(r Record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("journal record %s: %w", r.Kind, err)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(body, castagnoli), body), nil
}

// parse returns the records of data up to the first line that is not one, and
// the length of the part they take up, bytes.
func parse(data []byte) (records []Record, good int) {
	for {
		line, _, complete := bytes.Cut(data[good:], []byte{'\n'})
		if !complete {
			return records, good
		}
		record, ok := decode(line)
		if !ok || record.Seq != len(records) {
			return records, good
		}
		records = append(records, record)
		good += len(line) + 1
	}
}

func decode(line []byte) (Record, bool) {
	sum, body, found := bytes.Cut(line, []byte{' '})
	if !found || len(sum) != 8 {
		return Record{}, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || crc32.Checksum(body, castagnoli) != uint32(want) {
		return Record{}, false
	}
	var r Record
	if json.Unmarshal(body, &r) != nil {
		return Record{}, false
	}
	return r, true
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if info.Size() > MaxBytes {
		return nil, fmt.Errorf("journal %s has %d bytes, more than %d: this is no journal", path, info.Size(), MaxBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return data, nil
}

// setAside renames path to the first free path.broken-N.
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.broken-%d", path, n)
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(path, aside); err != nil {
			return "", fmt.Errorf("journal: %w", err)
		}
		return aside, nil
	}
}
