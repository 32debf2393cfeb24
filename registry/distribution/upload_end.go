package distribution

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"
)

// endUpload removes what an upload holds. It may have ended, or not have begun.
func (s *Site) endUpload(u *upload) {
	u.ended = true
	s.mu.Lock()
	delete(s.uploads, u.id)
	s.mu.Unlock()
	if u.writer != nil {
		u.writer.Close()
	}
	u.cancel()
	// What is left of it here, [Site.abandonUploads] removes at the next start.
	ctx := s.inNamespace(context.Background())
	_ = s.options.Blobs.Abort(ctx, u.ref())
	_ = s.release(ctx, u.lease)
}

// endIdle ends the uploads that nobody goes on with.
func (s *Site) endIdle(context.Context) {
	s.mu.Lock()
	var all []*upload
	for _, u := range s.uploads {
		all = append(all, u)
	}
	s.mu.Unlock()
	for _, u := range all {
		if !u.mu.TryLock() {
			continue // it is being written to
		}
		if !u.ended && s.options.Now().Sub(u.used) >= uploadIdle {
			s.endUpload(u)
		}
		u.mu.Unlock()
	}
}

// abandonUploads removes the uploads of a former process.
func (s *Site) abandonUploads(ctx context.Context) error {
	ctx = s.inNamespace(ctx)
	mine := func(name string) bool {
		id, ok := strings.CutPrefix(name, uploadPrefix)
		s.mu.Lock()
		defer s.mu.Unlock()
		return ok && s.uploads[id] == nil
	}
	statuses, err := s.options.Blobs.ListStatuses(ctx)
	if err != nil {
		return err
	}
	for _, status := range statuses {
		if !mine(status.Ref) {
			continue
		}
		if err := s.options.Blobs.Abort(ctx, status.Ref); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	all, err := s.options.Leases.List(ctx)
	if err != nil {
		return err
	}
	for _, lease := range all {
		if mine(lease.ID) {
			if err := s.release(ctx, lease); err != nil {
				return err
			}
		}
	}
	return nil
}
