package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// part is a file beside the datastore, read.
type part struct {
	Entry
	data []byte
}

// readParts reads all files of the parts, in the order of their names. Those that begin with a dot are locks and
// temporary files and left out.
func readParts(parts map[string]string) ([]part, error) {
	var list []part
	total := int64(0)
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if err := CheckName(name); err != nil {
			return nil, err
		}
		err := filepath.WalkDir(parts[name], func(file string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if strings.HasPrefix(d.Name(), ".") {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if d.IsDir() {
				return nil
			}
			if !d.Type().IsRegular() {
				return fmt.Errorf("%s is no file, and cannot be in a snapshot", file)
			}
			data, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if total += int64(len(data)); total > maxPartsBytes {
				return fmt.Errorf("%s: with it the files beside the datastore are more than %d MB", file, maxPartsBytes>>20)
			}
			rel, err := filepath.Rel(parts[name], file)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			list = append(list, part{
				Entry: Entry{
					Path: filepath.ToSlash(filepath.Join(partsPrefix, name, rel)), Size: int64(len(data)),
					SHA256: hex.EncodeToString(sum[:]), Mode: info.Mode().Perm(),
				},
				data: data,
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

func sameParts(a, b []part) bool {
	return slices.EqualFunc(a, b, func(a, b part) bool { return a.Entry == b.Entry })
}

// describeFile is the entry of a file that is too large to be held in memory.
func describeFile(ctx context.Context, name, file string) (Entry, error) {
	f, err := os.Open(file)
	if err != nil {
		return Entry{}, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, contextFile{ctx, f})
	return Entry{Path: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil)), Mode: 0o600}, err
}
