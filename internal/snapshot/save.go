package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
)

// Options say what to save, and where.
type Options struct {
	Database string            // absolute path of the SQLite file; it may be in use
	Parts    map[string]string // absolute paths of files and folders by the name they get in the snapshot; what does not exist is left out
	Folder   string            // absolute path of the snapshots' folder; made if it is missing
	Scratch  string            // folder for the datastore's copy while it is packed; empty: Folder
	Prefix   string            // the snapshot is <prefix>-<node>-<seconds since 1970>, as K3s names them; empty: [OnDemand]
	About    About
	Now      func() time.Time // nil: time.Now
}

// OnDemand is the prefix of snapshots that somebody asked for; K3s'.
const OnDemand = "on-demand"

// reserveBytes of the disk are left for those who work on it.
const reserveBytes = 64 << 20

// partsTries is how often the parts are read until they are the same before and after the datastore was copied.
const partsTries = 5

// Save writes a snapshot and returns what it is. When it fails nothing is left under a snapshot's name.
func Save(ctx context.Context, o Options) (info Info, err error) {
	if o.Prefix == "" {
		o.Prefix = OnDemand
	}
	if o.Scratch == "" {
		o.Scratch = o.Folder
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	defer func() {
		if isFull(err) {
			err = fmt.Errorf("%w for a snapshot in %s: %w", ErrNoSpace, o.Folder, err)
		}
	}()
	for _, folder := range []string{o.Folder, o.Scratch} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return info, err
		}
	}
	unlock, err := lockFolders(o.Scratch, o.Folder)
	if err != nil {
		return info, err
	}
	defer unlock()
	if err := errors.Join(removeLeftovers(o.Folder), removeLeftovers(o.Scratch)); err != nil {
		return info, err
	}
	if err := requireSpace(o); err != nil {
		return info, err
	}
	m := &Manifest{FormatVersion: Version, Created: o.Now().UTC().Truncate(time.Second), Datastore: "sqlite", About: o.About}
	if m.Name, err = o.freeName(m.Created); err != nil {
		return info, err
	}

	temporary := filepath.Join(o.Scratch, "."+m.Name+".db"+temporarySuffix)
	defer func() { err = errors.Join(err, removeDatabase(temporary)) }()
	parts, err := o.copyAll(ctx, temporary)
	if err != nil {
		return info, err
	}
	if m.Revision, err = checkDatabase(ctx, temporary); err != nil {
		return info, fmt.Errorf("datastore %s: %w; no snapshot of it was made", o.Database, err)
	}
	database, err := describeFile(ctx, databaseName, temporary)
	if err != nil {
		return info, err
	}
	m.Entries = []Entry{database}
	content := map[string][]byte{}
	for _, p := range parts {
		m.Entries = append(m.Entries, p.Entry)
		content[p.Path] = p.data
	}
	return o.write(ctx, m, func(e Entry) (io.ReadCloser, error) {
		if e.Path == databaseName {
			f, err := os.Open(temporary)
			return contextFile{ctx, f}, err
		}
		return io.NopCloser(bytes.NewReader(content[e.Path])), nil
	})
}

// copyAll copies the datastore to temporary, and reads the parts, at a moment at which they did not change: a key of one
// moment may not open what the datastore had at another.
func (o Options) copyAll(ctx context.Context, temporary string) ([]part, error) {
	before, err := readParts(o.Parts)
	if err != nil {
		return nil, err
	}
	for range partsTries {
		if err := removeDatabase(temporary); err != nil {
			return nil, err
		}
		if err := copyDatabase(ctx, o.Database, temporary); err != nil {
			return nil, err
		}
		after, err := readParts(o.Parts)
		if err != nil {
			return nil, err
		}
		if sameParts(before, after) {
			return after, nil
		}
		before = after
	}
	return nil, fmt.Errorf("the server's keys and certificates are being changed all the time: they were different before and after each of %d copies of the datastore", partsTries)
}

// write makes the file of a snapshot.
func (o Options) write(ctx context.Context, m *Manifest, open func(Entry) (io.ReadCloser, error)) (info Info, err error) {
	file := filepath.Join(o.Folder, m.Name+Extension)
	f, err := os.OpenFile(filepath.Join(o.Folder, "."+m.Name+temporarySuffix), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return info, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	// A stick's file system may have no permissions; Info says so.
	if err := f.Chmod(0o600); err != nil && !errors.Is(err, fs.ErrPermission) {
		return info, err
	}
	if err := writeArchive(f, m, open); err != nil {
		return info, fmt.Errorf("write snapshot %s: %w", file, err)
	}
	if err := ctx.Err(); err != nil {
		return info, err
	}
	if err := atomicfile.Commit(f, file); err != nil {
		return info, fmt.Errorf("write snapshot %s: %w", file, err)
	}
	return describe(file)
}

// freeName is the name of a snapshot made at the given time. One of the same second, or of a time that a wrong
// clock has had before, is not overwritten.
func (o Options) freeName(at time.Time) (string, error) {
	for seconds := at.Unix(); ; seconds++ {
		name := fmt.Sprintf("%s-%s-%d", o.Prefix, o.About.Node, seconds)
		if err := CheckName(name); err != nil {
			return "", err
		}
		if _, err := os.Lstat(filepath.Join(o.Folder, name+Extension)); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

const temporarySuffix = ".snapshot.tmp"

// removeLeftovers removes what a killed Save has left in a folder that is locked.
func removeLeftovers(folder string) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var failed error
	for _, f := range files {
		if isTemporary(f.Name()) && strings.Contains(f.Name(), temporarySuffix) {
			failed = errors.Join(failed, os.Remove(filepath.Join(folder, f.Name())))
		}
	}
	return failed
}

// requireSpace refuses a save that would fill the disk. How far the datastore can be compressed nobody knows before.
func requireSpace(o Options) error {
	var size int64
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(o.Database + suffix); err == nil {
			size += info.Size()
		}
	}
	return errors.Join(requireFree(o.Scratch, size+size/2+reserveBytes), requireFree(o.Folder, size/2))
}

// requireFree fails unless that many bytes are free on the file system of folder.
func requireFree(folder string, bytes int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return &os.PathError{Op: "statfs", Path: folder, Err: err}
	}
	if free := int64(s.Bavail) * s.Bsize; free < bytes {
		return fmt.Errorf("%w: %s has %d MB free, %d MB are needed; make room, or use another folder", ErrNoSpace, folder, free/1e6, bytes/1e6+1)
	}
	return nil
}

// lockFolders keeps two processes from working in a folder at once. It waits.
func lockFolders(folders ...string) (unlock func(), err error) {
	var open []*os.File
	unlock = func() {
		for _, f := range open {
			f.Close()
		}
	}
	slices.Sort(folders) // so that two that want the same ones do not wait for each other
	for _, folder := range slices.Compact(folders) {
		f, err := os.Open(folder)
		if err != nil {
			unlock()
			return nil, err
		}
		open = append(open, f)
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			unlock()
			return nil, fmt.Errorf("lock %s: %w", folder, err)
		}
	}
	return unlock, nil
}

// contextFile is a file whose reader gives up when ctx is done.
type contextFile struct {
	ctx  context.Context
	file *os.File
}

func (f contextFile) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.file.Read(p)
}

func (f contextFile) Close() error { return f.file.Close() }

// isTemporary says whether a file of a folder is no snapshot yet.
func isTemporary(name string) bool { return strings.HasPrefix(name, ".") }
