package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"k8s.io/klog/v2"

	"airgap/registry"
)

// pinDelay gathers the changes of one pull, which makes several, into one reaction.
const pinDelay = 200 * time.Millisecond

// pin makes sure that no image of an installed bundle can be collected as garbage, for there is nowhere to
// pull it from, and returns those that are gone. It records what there is, too.
func (a *agent) pin(ctx context.Context, client *containerd.Client) (missing []string, err error) {
	names, err := pinnedImages(a.paths.PinnedImages())
	if err != nil {
		return nil, err
	}
	missing, err = registry.Pin(ctx, client.ImageService(), names)
	if err != nil {
		return missing, err
	}
	if err := a.recordImages(ctx, client, names); err != nil {
		klog.ErrorS(err, "the images cannot be recorded: a damaged image store could not be made anew without the stick")
	}
	return missing, nil
}

// keepPins pins again whenever an image's record changes, until ctx is done: containerd forgets the label each
// time a pod with imagePullPolicy Always pulls its image.
func (a *agent) keepPins(ctx context.Context, client *containerd.Client) {
	for ctx.Err() == nil {
		if err := a.followPins(ctx, client); err != nil && ctx.Err() == nil {
			klog.V(2).InfoS("images are not followed; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// followPins is keepPins until containerd ends.
func (a *agent) followPins(ctx context.Context, client *containerd.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, errs := client.Subscribe(ctx, `namespace==`+registry.Namespace+`,topic~="^/images/"`)
	for {
		if _, err := a.pin(ctx, client); err != nil {
			return err
		}
		select {
		case err := <-errs:
			return err
		case <-events:
		}
		for settled := time.After(pinDelay); settled != nil; {
			select {
			case <-events:
			case err := <-errs:
				return err
			case <-settled:
				settled = nil
			}
		}
	}
}

// pinnedImages reads the lists of references in a folder.
func pinnedImages(dir string) ([]string, error) {
	lists, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			return nil, fmt.Errorf("images to pin: %w", err)
		}
		names = append(names, strings.Fields(string(data))...)
	}
	return names, nil
}
