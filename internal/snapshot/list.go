package snapshot

import (
	"cmp"
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

	"airgap/internal/atomicfile"
)

// List returns the snapshots of a folder, the newest first. One that cannot be read is listed with its Error, last.
// A folder that does not exist has none.
func List(folder string) ([]Info, error) {
	files, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, f := range files {
		if f.IsDir() || isTemporary(f.Name()) || !strings.HasSuffix(f.Name(), Extension) {
			continue
		}
		file := filepath.Join(folder, f.Name())
		info, err := describe(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			info.Error = err.Error()
		}
		list = append(list, info)
	}
	slices.SortStableFunc(list, newestFirst)
	return list, nil
}

// farAhead is how much later than now a snapshot must be made for its time to be a wrong clock's.
const farAhead = 24 * time.Hour

// newestFirst goes by the clock and, where that stood still or was set back to the same second, by the revision. One from
// the future is believed last: its clock was wrong, and nobody knows by how much.
func newestFirst(a, b Info) int {
	now := time.Now()
	at := func(i Info) time.Time {
		if i.Created.After(now.Add(farAhead)) {
			return time.Time{}
		}
		return i.Created
	}
	if broken := cmp.Compare(len(a.Error), len(b.Error)); (a.Error == "") != (b.Error == "") {
		return broken
	}
	return cmp.Or(at(b).Compare(at(a)), cmp.Compare(b.Revision, a.Revision), cmp.Compare(a.Name, b.Name))
}

// describe reads the manifest of a snapshot. It does not read the rest.
func describe(file string) (Info, error) {
	info := Info{File: file}
	info.Name = strings.TrimSuffix(filepath.Base(file), Extension)
	stat, err := os.Stat(file)
	if err != nil {
		return info, err
	}
	info.Bytes, info.Open = stat.Size(), stat.Mode().Perm()&0o077 != 0
	r, err := openArchive(file)
	if err != nil {
		return info, err
	}
	defer r.close()
	name := info.Name
	info.Manifest = *r.manifest
	info.Name = name // whoever has renamed the file calls it so
	return info, nil
}

// Find returns the snapshot that name means: the path of a file if there is a slash in it, else one of the folder, with or
// without the extension.
func Find(folder, name string) (Info, error) {
	file := name
	if !strings.ContainsRune(name, filepath.Separator) {
		name = strings.TrimSuffix(name, Extension)
		if err := CheckName(name); err != nil {
			return Info{}, err
		}
		file = filepath.Join(folder, name+Extension)
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return Info{}, err
	}
	info, err := describe(file)
	if errors.Is(err, fs.ErrNotExist) {
		return info, fmt.Errorf("%w: %s", ErrNotFound, file)
	}
	return info, err
}

// Verify reads the whole of a snapshot and compares it with its manifest. It does not look into the datastore.
func Verify(ctx context.Context, file string) error {
	r, err := openArchive(file)
	if err != nil {
		return err
	}
	defer r.close()
	return r.each(func(_ Entry, content io.Reader) error { return copyContext(ctx, io.Discard, content) })
}

// Newest returns the newest snapshot of a folder that is whole, and those before it that are not. It is
// ErrNotFound if there is none.
func Newest(ctx context.Context, folder string) (good Info, bad []Info, err error) {
	list, err := List(folder)
	if err != nil {
		return Info{}, nil, err
	}
	for _, info := range list {
		if info.Error == "" {
			err := Verify(ctx, info.File)
			if err == nil {
				return info, bad, nil
			}
			if ctx.Err() != nil {
				return Info{}, bad, ctx.Err()
			}
			info.Error = err.Error()
		}
		bad = append(bad, info)
	}
	return Info{}, bad, fmt.Errorf("%w: none in %s is whole", ErrNotFound, folder)
}

// Delete removes snapshots of a folder, by name. All that exist are removed, also when one does not.
func Delete(folder string, names ...string) error {
	var failed error
	for _, name := range names {
		name = strings.TrimSuffix(name, Extension)
		if err := CheckName(name); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		err := os.Remove(filepath.Join(folder, name+Extension))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %s in %s", ErrNotFound, name, folder)
		}
		failed = errors.Join(failed, err)
	}
	if _, err := os.Stat(folder); err != nil {
		return failed
	}
	return errors.Join(failed, atomicfile.SyncDir(folder))
}

// Prune removes all but the newest keep of the snapshots of a folder whose names begin with prefix and a dash, and returns
// those it removed. One that cannot be read is left for somebody to look at.
func Prune(folder, prefix string, keep int) (removed []Info, err error) {
	list, err := List(folder)
	if err != nil {
		return nil, err
	}
	for _, info := range list {
		if !strings.HasPrefix(info.Name, prefix+"-") || info.Error != "" {
			continue
		}
		if keep--; keep >= 0 {
			continue
		}
		if err := Delete(folder, info.Name); err != nil {
			return removed, err
		}
		removed = append(removed, info)
	}
	return removed, nil
}
