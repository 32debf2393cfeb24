package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"airgap/internal/helmchart"
)

const (
	fieldManager = "airgap-helm"
	// workers is how many charts are installed at once. Waiting for workloads takes none.
	workers = 4
	// stopGrace is how long Run waits for workers when it is to end. A hook that runs longer is left to
	// the next start, which finds its release pending.
	stopGrace = 3 * time.Second
)

// Options is what a [Controller] works with.
type Options struct {
	Config *rest.Config // of the API server, with the rights of an administrator
	Log    *slog.Logger // nil: none

	DriftInterval time.Duration // zero: DefaultDriftInterval
}

// A Controller keeps the cluster's HelmCharts installed. The package comment says how.
type Controller struct {
	config   *rest.Config
	log      *slog.Logger
	typed    kubernetes.Interface
	dynamic  dynamic.Interface
	metadata metadata.Interface
	events   record.EventRecorder
	queue    workqueue.TypedRateLimitingInterface[string] // "namespace/name"
	secrets  *secretWatch

	driftInterval time.Duration

	charts, configs informers.GenericInformer

	mu       sync.Mutex
	sessions map[string]*session
}

// A session is what this process knows of one HelmChart. Only the worker that has its key uses it.
type session struct {
	uid    string
	status helmchart.Status // as last written; the informer may be behind
	wait   *wait            // for the workloads of a revision; nil if there is nothing to wait for
	looks  looks            // at the objects of a revision that is deployed
}

// New returns a controller; [Controller.Run] makes it work.
func New(options Options) (*Controller, error) {
	if options.Config == nil {
		return nil, errors.New("addons/helm: a controller needs a connection")
	}
	config := rest.CopyConfig(options.Config)
	config.UserAgent = fieldManager
	config.QPS, config.Burst = 50, 100 // client-go's 5 and 10 would make installs slow
	config.ContentType, config.AcceptContentTypes = "", ""
	c := &Controller{config: config, log: options.Log, sessions: map[string]*session{}, driftInterval: cmp.Or(options.DriftInterval, DefaultDriftInterval)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.typed, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("addons/helm: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("addons/helm: %w", err)
	}
	if c.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("addons/helm: %w", err)
	}
	return c, nil
}

// Run defines the API, then keeps charts installed until ctx ends. It returns nil then, and no error else: what goes
// wrong is reported at the HelmChart and tried again.
func (c *Controller) Run(ctx context.Context) error {
	if !c.define(ctx) {
		return nil
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.typed.CoreV1().Events("")})
	c.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: fieldManager})

	c.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](time.Second, 2*time.Minute))
	defer c.queue.ShutDown()
	c.secrets = newSecretWatch(c.metadata, c.queue.Add)
	informerFactory := dynamicinformer.NewDynamicSharedInformerFactory(c.dynamic, 0)
	c.charts, c.configs = informerFactory.ForResource(helmchart.Charts), informerFactory.ForResource(helmchart.Configs)
	for _, informer := range []cache.SharedIndexInformer{c.charts.Informer(), c.configs.Informer()} {
		if err := errors.Join(informer.SetTransform(slim), c.enqueueFrom(informer)); err != nil {
			return fmt.Errorf("addons/helm: %w", err)
		}
	}
	informerFactory.Start(ctx.Done())
	informerFactory.WaitForCacheSync(ctx.Done())

	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for c.work(ctx) {
			}
		})
	}
	<-ctx.Done()
	c.queue.ShutDown()
	done := make(chan struct{})
	go func() {
		working.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopGrace):
		c.log.Warn("a chart's hook still runs; it is taken up again at the next start")
	}
	return nil
}

// define makes the cluster know the API, however long it takes. It returns false if ctx ended first.
func (c *Controller) define(ctx context.Context) bool {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		err := define(ctx, c.dynamic)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			c.log.Warn("the API server does not take the definition of HelmChart", "error", err, "retry", pause)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// enqueueFrom puts the HelmChart of every object that comes, goes, or changes in its spec or an annotation of ours into the
// queue. A HelmChartConfig has the name of its HelmChart.
func (c *Controller) enqueueFrom(informer cache.SharedIndexInformer) error {
	enqueue := func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			c.queue.Add(key)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		DeleteFunc: enqueue,
		UpdateFunc: func(before, after any) {
			a, aOK := before.(metav1.Object)
			b, bOK := after.(metav1.Object)
			if !aOK || !bOK || a.GetGeneration() != b.GetGeneration() || a.GetUID() != b.GetUID() || orders(a) != orders(b) {
				enqueue(after)
			}
		},
	})
	return err
}

// orders is what annotations of a HelmChart tell the controller.
func orders(object metav1.Object) (told struct {
	drift     string
	unmanaged bool
}) {
	annotations := object.GetAnnotations()
	told.drift = annotations[helmchart.DriftAnnotation]
	_, told.unmanaged = annotations[helmchart.UnmanagedAnnotation]
	return told
}

// work takes one key from the queue. It returns false when the queue was shut down.
func (c *Controller) work(ctx context.Context) bool {
	key, shutDown := c.queue.Get()
	if shutDown {
		return false
	}
	defer c.queue.Done(key)
	after, err := c.reconcile(ctx, key)
	switch {
	case ctx.Err() != nil:
	case apierrors.IsConflict(err):
		c.queue.AddRateLimited(key) // the informer is behind
	case err != nil:
		c.log.Warn("HelmChart is tried again", "chart", key, "error", err)
		c.queue.AddRateLimited(key)
	default:
		c.queue.Forget(key)
		if after > 0 {
			c.queue.AddAfter(key, after)
		}
	}
	return true
}

// chart returns the HelmChart with a key and the HelmChartConfig that goes with it. Either is nil if it is not there.
func (c *Controller) chart(key string) (*helmchart.Chart, *helmchart.Config, error) {
	object, err := c.charts.Lister().Get(key)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	chart, err := helmchart.ChartFromObject(object.(*unstructured.Unstructured))
	if err != nil {
		return nil, nil, err
	}
	object, err = c.configs.Lister().Get(key)
	if apierrors.IsNotFound(err) {
		return chart, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	config, err := helmchart.ConfigFromObject(object.(*unstructured.Unstructured))
	return chart, config, err
}

// session returns what is known of a HelmChart: from before, or from its status.
func (c *Controller) session(key string, chart *helmchart.Chart) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sessions[key]
	if s == nil || s.uid != string(chart.UID) {
		s = &session{uid: string(chart.UID), status: chart.Status}
		c.sessions[key] = s
	}
	return s
}

func (c *Controller) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, key)
}
