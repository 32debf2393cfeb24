package crictl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageView says which columns a list of images has besides those it always has.
type ImageView struct {
	View
	Digests bool
	Pinned  bool
}

// PrintImages is images; name, empty for all, is one image.
func (c *Client) PrintImages(ctx context.Context, name string, v ImageView) error {
	var filter *runtime.ImageFilter
	if name != "" {
		filter = &runtime.ImageFilter{Image: &runtime.ImageSpec{Image: name}}
	}
	list, err := c.images.ListImages(ctx, filter)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b *runtime.Image) int {
		return cmp.Compare(strings.Join(a.GetRepoTags(), " "), strings.Join(b.GetRepoTags(), " "))
	})
	if v.Output != Table {
		return c.message(&runtime.ListImagesResponse{Images: list}, v.Output)
	}
	header := []string{"IMAGE", "TAG", "IMAGE ID", "SIZE"}
	if v.Digests {
		header = slices.Insert(header, 2, "DIGEST")
	}
	if v.Pinned {
		header = append(header, "PINNED")
	}
	var ids []string
	var rows [][]string
	for _, image := range list {
		ids = append(ids, image.GetId())
		digest := "<none>"
		if len(image.GetRepoDigests()) > 0 {
			_, digest, _ = strings.Cut(image.GetRepoDigests()[0], "@")
		}
		for _, repository := range names(image) {
			row := []string{repository[0], repository[1], short(image.GetId(), v.NoTrunc), size(image.GetSize())}
			if v.Digests {
				row = slices.Insert(row, 2, short(digest, v.NoTrunc))
			}
			if v.Pinned {
				row = append(row, strconv.FormatBool(image.GetPinned()))
			}
			rows = append(rows, row)
		}
	}
	if v.Quiet {
		return c.lines(ids)
	}
	return c.table(header, rows)
}

// names are the repositories and tags of an image, or the repositories of its digests.
func names(image *runtime.Image) (list [][2]string) {
	for _, name := range image.GetRepoTags() {
		at := strings.LastIndex(name, ":")
		list = append(list, [2]string{name[:max(at, 0)], name[at+1:]})
	}
	for _, name := range image.GetRepoDigests() {
		if len(image.GetRepoTags()) == 0 {
			repository, _, _ := strings.Cut(name, "@")
			list = append(list, [2]string{repository, "<none>"})
		}
	}
	if len(list) == 0 {
		list = [][2]string{{"<none>", "<none>"}}
	}
	return list
}

// Pull makes the runtime pull an image, with credentials if they are not empty.
func (c *Client) Pull(ctx context.Context, image string, auth *runtime.AuthConfig) error {
	reference, err := c.images.PullImage(ctx, &runtime.ImageSpec{Image: image, UserSpecifiedImage: image}, auth, nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "Image is up to date for %s\n", reference)
	return err
}

// Removal says which images rmi removes.
type Removal struct {
	Images []string
	All    bool // every image
	Unused bool // those that no container has
	Pinned bool // also those that a bundle brought
}

// errPinned says that an image was kept.
var errPinned = errors.New("a bundle brought it and it is pinned: once removed it cannot be pulled again where there is no network; --force removes it all the same")

// RemoveImages is rmi. A pinned image that was named is an error; with All or Unused it is kept and reported.
func (c *Client) RemoveImages(ctx context.Context, r Removal) error {
	if !r.All && !r.Unused {
		return forEach(r.Images, func(name string) error {
			status, err := c.images.ImageStatus(ctx, &runtime.ImageSpec{Image: name}, false)
			if err != nil {
				return err
			}
			if status.GetImage() == nil {
				return errors.New("no such image")
			}
			if status.GetImage().GetPinned() && !r.Pinned {
				return errPinned
			}
			return c.removeImage(ctx, status.GetImage())
		})
	}
	list, err := c.images.ListImages(ctx, nil)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	if r.Unused {
		containers, err := c.runtime.ListContainers(ctx, nil)
		if err != nil {
			return err
		}
		for _, k := range containers {
			used[k.GetImageRef()], used[k.GetImageId()], used[k.GetImage().GetImage()] = true, true, true
		}
	}
	var errs []error
	for _, image := range list {
		if used[image.GetId()] {
			continue
		}
		if image.GetPinned() && !r.Pinned {
			fmt.Fprintf(c.Err, "Kept, for it is pinned: %s\n", title(image))
			continue
		}
		if err := c.removeImage(ctx, image); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", title(image), err))
		}
	}
	return errors.Join(errs...)
}

func (c *Client) removeImage(ctx context.Context, image *runtime.Image) error {
	if err := c.images.RemoveImage(ctx, &runtime.ImageSpec{Image: image.GetId()}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.Out, "Deleted: %s\n", title(image))
	return err
}

func title(image *runtime.Image) string {
	return cmp.Or(strings.Join(image.GetRepoTags(), ", "), strings.Join(image.GetRepoDigests(), ", "), image.GetId())
}

// PrintImageFilesystem is imagefsinfo.
func (c *Client) PrintImageFilesystem(ctx context.Context, format string) error {
	info, err := c.images.ImageFsInfo(ctx)
	if err != nil {
		return err
	}
	return c.message(info, format)
}

// ImageNames lists the tags of all images.
func (c *Client) ImageNames(ctx context.Context) (list []string, err error) {
	images, err := c.images.ListImages(ctx, nil)
	for _, image := range images {
		list = append(list, image.GetRepoTags()...)
	}
	slices.Sort(list)
	return list, err
}
