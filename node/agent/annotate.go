package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"airgap/node/config"
)

const (
	// annotateInterval is between two looks at what there is to tell; the API is asked only if it has changed.
	annotateInterval = time.Minute
	annotateRetry    = 2 * time.Second
)

// annotate tells in this machine's Node, which the kubelet's identity may change, where its peers find it and what it has been
// given, until ctx is done: so the site is known from the API.
func (a *agent) annotate(ctx context.Context, client *rest.Config) {
	api, err := kubernetes.NewForConfig(client)
	if err != nil {
		klog.ErrorS(err, "the node's annotations are not kept")
		return
	}
	var told map[string]string
	var trouble string
	for {
		wait := annotateInterval
		annotations, err := a.annotations()
		if err == nil && !maps.Equal(annotations, told) {
			if err = patchNode(ctx, api, a.config.NodeName, annotations); err == nil {
				told = annotations
			}
		}
		switch {
		case err == nil:
			trouble = ""
		case apierrors.IsNotFound(err): // the kubelet has not made it yet
			wait = annotateRetry
		case err.Error() != trouble && ctx.Err() == nil:
			trouble = err.Error()
			klog.InfoS("the node's annotations are not written yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// annotations are the node's, as of now.
func (a *agent) annotations() (map[string]string, error) {
	bundles, err := acceptedBundles(a.paths.Accepted())
	if err != nil {
		return nil, err
	}
	return map[string]string{
		config.PeerPortAnnotation: strconv.Itoa(a.config.PeerPort),
		config.VersionAnnotation:  a.options.Version,
		config.BundlesAnnotation:  bundles,
	}, nil
}

// acceptedBundles lists what installs have noted in file, "name=version@digest" with commas between, by name.
func acceptedBundles(file string) (string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var accepted map[string]struct {
		Version string `json:"version"`
		Digest  string `json:"digest"`
	}
	if err := json.Unmarshal(data, &accepted); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(accepted)) {
		list = append(list, name+"="+accepted[name].Version+"@"+accepted[name].Digest)
	}
	return strings.Join(list, ","), nil
}

func patchNode(ctx context.Context, api kubernetes.Interface, name string, annotations map[string]string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = api.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
