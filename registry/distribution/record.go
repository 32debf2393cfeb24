package distribution

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Labels of image records in containerd.
const (
	LabelPushed  = "airgap.internal/pushed"    // "true"
	LabelTime    = "airgap.internal/pushed-at" // of the push or the deletion, RFC 3339 with nanoseconds
	LabelDeleted = "airgap.internal/deleted"   // "true": the record remembers that the name was deleted
)

// Record is what a name stands for: a tag, or a digest that was pushed without one. Of two records of one
// name the later one holds, wherever they were made; a deletion is a record too.
type Record struct {
	Name    string             `json:"name"` // "team/app:1" or "team/app@sha256:…"
	Target  ocispec.Descriptor `json:"target"`
	Time    time.Time          `json:"time"`
	Deleted bool               `json:"deleted,omitempty"`
}

// Repository is the part of the name before the tag or digest.
func (r Record) Repository() string {
	if repository, _, ok := strings.Cut(r.Name, "@"); ok {
		return repository
	}
	return r.Name[:strings.LastIndexByte(r.Name, ':')]
}

// Tagged says whether the name is a tag.
func (r Record) Tagged() bool { return !strings.Contains(r.Name, "@") }

// Later says whether r holds where other is known too.
func (r Record) Later(other Record) bool {
	if !r.Time.Equal(other.Time) {
		return r.Time.After(other.Time)
	}
	// Never seen but by design of somebody: any order does that is the same everywhere.
	return r.Target.Digest > other.Target.Digest
}

// ParseRecordName checks a record's name that came from elsewhere.
func ParseRecordName(name string) error {
	repository, reference, digested := strings.Cut(name, "@")
	if !digested {
		i := strings.LastIndexByte(name, ':')
		if i < 0 || !tagPattern.MatchString(name[i+1:]) {
			return fmt.Errorf("%q has no tag", name)
		}
		repository = name[:i]
	} else if _, err := parseBlobDigest(reference); err != nil {
		return err
	}
	if len(repository) > maxNameBytes || !namePattern.MatchString(repository) {
		return fmt.Errorf("%q is no repository name", repository)
	}
	return nil
}

func isDeleted(image images.Image) bool { return image.Labels[LabelDeleted] != "" }

// Records are all that this node holds, by name.
func (s *Site) Records(ctx context.Context) ([]Record, error) {
	list, err := s.options.Images.List(s.inNamespace(ctx))
	if err != nil {
		return nil, fmt.Errorf("list pushed images: %w", err)
	}
	var records []Record
	for _, image := range list {
		if record, ok := recordOf(image); ok {
			records = append(records, record)
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return records, nil
}

func recordOf(image images.Image) (Record, bool) {
	name, ok := strings.CutPrefix(image.Name, SiteHost+"/")
	at, err := time.Parse(time.RFC3339Nano, image.Labels[LabelTime])
	if !ok || err != nil || ParseRecordName(name) != nil {
		return Record{}, false
	}
	return Record{Name: name, Target: image.Target, Time: at, Deleted: isDeleted(image)}, true
}

// latest are the records that hold for a repository, here and at other nodes, by name. For an empty repository they are all.
func (s *Site) latest(ctx context.Context, repository string) (map[string]Record, error) {
	known, err := s.Records(ctx)
	if err != nil {
		return nil, err
	}
	latest := map[string]Record{}
	for _, record := range append(known, s.options.Others.Records()...) {
		if former, ok := latest[record.Name]; (repository == "" || record.Repository() == repository) && (!ok || record.Later(former)) {
			latest[record.Name] = record
		}
	}
	return latest, nil
}

// latestOf is the record that holds for one name, and whether this node has it. Its Name is empty if there is none.
func (s *Site) latestOf(ctx context.Context, name string) (latest Record, here bool, err error) {
	image, err := s.options.Images.Get(s.inNamespace(ctx), SiteHost+"/"+name)
	if err != nil && !errdefs.IsNotFound(err) {
		return Record{}, false, err
	}
	if err == nil {
		latest, here = recordOf(image)
	}
	for _, record := range s.options.Others.Records() {
		if record.Name == name && (latest.Name == "" || record.Later(latest)) {
			latest, here = record, false
		}
	}
	return latest, here, nil
}

// tags are those of a repository, at all nodes. None is an [*Error] with status 404.
func (s *Site) tags(ctx context.Context, repository string) ([]string, error) {
	latest, err := s.latest(ctx, repository)
	if err != nil {
		return nil, err
	}
	tags, known := []string{}, false
	for name, record := range latest {
		if record.Deleted {
			continue
		}
		known = true
		if record.Tagged() {
			tags = append(tags, strings.TrimPrefix(name, repository+":"))
		}
	}
	if !known {
		return nil, newError(http.StatusNotFound, CodeNameUnknown, "no image was pushed to %s", repository)
	}
	return tags, nil
}

// change is a change by a client of this node: it is later than all that this node knows of, whatever the clock says.
func (s *Site) change(ctx context.Context, record Record) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.seen.IsZero() {
		records, err := s.Records(ctx)
		if err != nil {
			return err
		}
		for _, known := range records {
			s.see(known.Time)
		}
	}
	for _, known := range s.options.Others.Records() {
		s.see(known.Time)
	}
	record.Time = s.options.Now().UTC().Round(0)
	if !record.Time.After(s.seen) {
		record.Time = s.seen.Add(1)
	}
	s.see(record.Time)
	return s.write(ctx, record)
}

func (s *Site) see(t time.Time) {
	if t.After(s.seen) {
		s.seen = t
	}
}

// write makes a record the one of its name.
func (s *Site) write(ctx context.Context, record Record) error {
	image := images.Image{
		Name: SiteHost + "/" + record.Name, Target: record.Target,
		Labels: map[string]string{LabelPushed: "true", LabelTime: record.Time.Format(time.RFC3339Nano)},
	}
	if record.Deleted {
		image.Labels[LabelDeleted] = "true"
		image.Target = ocispec.DescriptorEmptyJSON // containerd wants a target, and this one keeps nothing
		image.Target.Data = nil
	}
	ctx = s.inNamespace(ctx)
	_, err := s.options.Images.Update(ctx, image)
	if errdefs.IsNotFound(err) {
		_, err = s.options.Images.Create(ctx, image)
	}
	if err != nil {
		return fmt.Errorf("name %s: %w", record.Name, err)
	}
	return nil
}

// Drop forgets a record that other nodes hold, or that is too old to be remembered, unless it has changed.
func (s *Site) Drop(ctx context.Context, record Record) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	ctx = s.inNamespace(ctx)
	image, err := s.options.Images.Get(ctx, SiteHost+"/"+record.Name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if own, ok := recordOf(image); ok && !own.Time.Equal(record.Time) {
		return nil
	}
	if err := s.options.Images.Delete(ctx, image.Name); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}
