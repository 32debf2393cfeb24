package addons

import (
	"context"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long a change is given to be followed by others before it is told.
const quiet = 100 * time.Millisecond

// watch tells, until ctx ends, that something changed in or below a folder. If the kernel has no more watches to
// give it says nothing, ever: the folder is looked at regularly anyway.
func watch(ctx context.Context, folder string, log *slog.Logger) <-chan struct{} {
	changes := make(chan struct{}, 1)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("changes of manifests are seen late", "error", err)
		return changes
	}
	follow := func() {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			return watcher.Add(path)
		})
		if err != nil {
			log.Warn("changes of manifests are seen late", "error", err)
		}
	}
	follow()
	go func() {
		defer watcher.Close()
		settled := time.NewTimer(0)
		settled.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case event, open := <-watcher.Events:
				if !open {
					return
				}
				if event.Has(fsnotify.Create) {
					follow() // it may be a folder
				}
				settled.Reset(quiet)
			case <-settled.C:
				select {
				case changes <- struct{}{}:
				default:
				}
			case _, open := <-watcher.Errors:
				if !open {
					return
				}
				settled.Reset(quiet) // events were lost: look
			}
		}
	}()
	return changes
}
