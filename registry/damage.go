package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is a database of containerd's that cannot be used, or was lost.
var ErrDamaged = errors.New("containerd's database is damaged")

func metaFile(root string) string { return filepath.Join(root, metadataFolder, "meta.db") }

func overlayFile(root string) string { return filepath.Join(root, snapshotFolder, "metadata.db") }

func blobsFolder(root string) string { return filepath.Join(root, contentFolder, "blobs", "sha256") }

// CheckDatabases reads both databases of the store under root, which nobody may have open: every page, for bbolt has no checksums
// and stumbles over a damaged one when it comes to it. The error is [ErrDamaged], or [ErrInUse]. A store that was never
// used is sound.
func CheckDatabases(root string) error {
	if _, err := os.Lstat(rebuildMarker(root)); err == nil {
		return fmt.Errorf("%w: making it anew was cut off", ErrDamaged)
	}
	blobs, err := os.ReadDir(blobsFolder(root))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, file := range []string{metaFile(root), overlayFile(root)} {
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
			if len(blobs) > 0 { // containerd would make an empty one, and its garbage collection remove all blobs
				return fmt.Errorf("%w: %s is empty or gone, and there are %d blobs", ErrDamaged, file, len(blobs))
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := checkDatabase(file); errors.Is(err, bolterrors.ErrTimeout) {
			return fmt.Errorf("%w: %s", ErrInUse, file)
		} else if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, file, err)
		}
	}
	return nil
}

// checkDatabase reads one database. A file that is shorter than its pages say ends in a fault of the memory that it is mapped to.
func checkDatabase(file string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	options := *bolt.DefaultOptions
	options.ReadOnly, options.Timeout = true, lockTimeout
	db, err := bolt.Open(file, 0, &options)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		// First by ourselves: what Check comes upon in goroutines of its own cannot all be recovered from.
		err := tx.ForEach(func(_ []byte, b *bolt.Bucket) error { return readBucket(b) })
		if err != nil {
			return err
		}
		var problems []error
		for problem := range tx.Check() {
			if !strings.HasSuffix(problem.Error(), "unreachable unfreed") { // space that is lost, and nothing else
				problems = append(problems, problem)
			}
		}
		return errors.Join(problems[:min(len(problems), 3)]...)
	})
}

// readBucket touches every byte of a bucket.
func readBucket(b *bolt.Bucket) error {
	if b == nil {
		return errors.New("a bucket without content")
	}
	var sum byte
	return b.ForEach(func(key, value []byte) error {
		for _, c := range key {
			sum ^= c
		}
		if value == nil {
			return readBucket(b.Bucket(key))
		}
		for _, c := range value {
			sum ^= c
		}
		return nil
	})
}
