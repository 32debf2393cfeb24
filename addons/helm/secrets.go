package helm

import (
	"context"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"airgap/internal/helmchart"
)

// A secretWatch tells of changes of the Secrets that HelmCharts take values from. Each has a watch of its own,
// of its metadata: the cluster's other Secrets, and what is in these, stay out of this process.
type secretWatch struct {
	client  metadata.Interface
	changed func(chart string) // "namespace/name"

	mu      sync.Mutex
	watched map[types.NamespacedName]*watchedSecret
}

type watchedSecret struct {
	charts map[string]bool // that name it
	stop   context.CancelFunc
}

func newSecretWatch(client metadata.Interface, changed func(chart string)) *secretWatch {
	return &secretWatch{client: client, changed: changed, watched: map[types.NamespacedName]*watchedSecret{}}
}

// follow makes the Secrets with names, in a namespace, be those that are watched for a HelmChart, until ctx ends.
func (w *secretWatch) follow(ctx context.Context, chart, namespace string, names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for secret, watched := range w.watched {
		if secret.Namespace == namespace && slices.Contains(names, secret.Name) {
			continue
		}
		if delete(watched.charts, chart); len(watched.charts) == 0 {
			watched.stop()
			delete(w.watched, secret)
		}
	}
	for _, name := range names {
		secret := types.NamespacedName{Namespace: namespace, Name: name}
		watched := w.watched[secret]
		if watched == nil {
			watching, stop := context.WithCancel(ctx)
			watched = &watchedSecret{charts: map[string]bool{}, stop: stop}
			w.watched[secret] = watched
			w.watch(watching, secret)
		}
		watched.charts[chart] = true
	}
}

func (w *secretWatch) watch(ctx context.Context, secret types.NamespacedName) {
	informer := metadatainformer.NewFilteredMetadataInformer(w.client, corev1.SchemeGroupVersion.WithResource("secrets"), secret.Namespace, 0,
		cache.Indexers{}, func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, secret.Name).String()
		}).Informer()
	tell := func(any) {
		w.mu.Lock()
		var charts []string
		if watched := w.watched[secret]; watched != nil {
			charts = slices.Collect(maps.Keys(watched.charts))
		}
		w.mu.Unlock()
		for _, chart := range charts {
			w.changed(chart)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell, DeleteFunc: tell, UpdateFunc: func(_, after any) { tell(after) },
	}); err != nil {
		return // it was stopped already
	}
	go informer.RunWithContext(ctx)
}

// secretsOf returns the names of the Secrets of which a change is to be seen. config may be nil.
func secretsOf(chart *helmchart.Chart, config *helmchart.Config) []string {
	references := chart.Spec.ValuesSecrets
	if config != nil {
		references = slices.Concat(references, config.Spec.ValuesSecrets)
	}
	var names []string
	for _, reference := range references {
		if !reference.IgnoreUpdates && !slices.Contains(names, reference.Name) {
			names = append(names, reference.Name)
		}
	}
	return names
}
