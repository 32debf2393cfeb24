package servicelb

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"airgap/internal/hostinfo"
)

const (
	fieldManager = "airgap-servicelb"

	// settle is how long changes are gathered before they are decided on, all at once.
	settle = 50 * time.Millisecond

	// lookAgain is the time between two looks at the machine's sockets while a service waits for one to be
	// closed, and before another attempt when the API server refused one.
	lookAgain = 10 * time.Second
)

// Options are what a [Controller] works with.
type Options struct {
	Client   kubernetes.Interface // with the rights of an administrator
	Node     string               // name of the node that this machine is; empty: none
	Host     hostinfo.Host        // this machine
	Reserved map[Port]string      // ports that no service gets, and whose they are: "the API server"
	Log      *slog.Logger
}

// A Controller keeps the status of services of type LoadBalancer.
type Controller struct {
	client   kubernetes.Interface
	machine  machine
	reserved map[Port]string
	log      *slog.Logger
	events   record.EventRecorder

	factory informers.SharedInformerFactory
	changed chan struct{} // holds one value when there is something to decide
}

// New returns a controller; [Controller.Run] makes it work.
func New(o Options) *Controller {
	c := &Controller{
		client: o.Client, machine: machine{o.Node, o.Host}, reserved: o.Reserved, log: o.Log,
		factory: informers.NewSharedInformerFactoryWithOptions(o.Client, 0, informers.WithTransform(trim)),
		changed: make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Run keeps the status of services until ctx is done. What goes wrong is logged and tried again.
func (c *Controller) Run(ctx context.Context) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.client.CoreV1().Events("")})
	c.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: fieldManager})

	core := c.factory.Core().V1()
	for _, informer := range []cache.SharedIndexInformer{
		core.Services().Informer(), core.Nodes().Informer(), core.Pods().Informer(),
		c.factory.Discovery().V1().EndpointSlices().Informer(),
	} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { c.wake() }, UpdateFunc: func(_, _ any) { c.wake() }, DeleteFunc: func(any) { c.wake() },
		}); err != nil {
			return err
		}
	}
	c.factory.Start(ctx.Done())
	defer c.factory.Shutdown()
	c.factory.WaitForCacheSync(ctx.Done())
	c.wake()
	again := time.NewTimer(time.Hour)
	again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-c.changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
		again.Stop()
		if !c.sync(ctx) {
			again.Reset(lookAgain)
		}
	}
}

func (c *Controller) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// sync decides on all services and writes what changed. It returns false if there is something left to do
// that no change in the cluster will tell of.
func (c *Controller) sync(ctx context.Context) (complete bool) {
	s, err := c.snapshot()
	if err != nil {
		c.log.Error("service load balancer", "error", err)
		return false
	}
	verdicts := s.decide()
	complete = true
	for _, service := range s.services {
		if isAnothers(service) || !isOurs(service) && len(service.Status.Conditions) == 0 {
			continue
		}
		v := verdicts[nameOf(service)] // empty for a service that is no LoadBalancer any more
		complete = complete && !v.waits
		err := c.write(ctx, service, v)
		if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) || ctx.Err() != nil {
			continue // a conflict: the newer service is on its way here
		}
		c.log.Error("service load balancer", "error", err)
		complete = false
	}
	return complete
}

// snapshot gathers what the informers know.
func (c *Controller) snapshot() (*snapshot, error) {
	core := c.factory.Core().V1()
	services, err1 := core.Services().Lister().List(labels.Everything())
	nodes, err2 := core.Nodes().Lister().List(labels.Everything())
	pods, err3 := core.Pods().Lister().List(labels.Everything())
	slices, err4 := c.factory.Discovery().V1().EndpointSlices().Lister().List(labels.Everything())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	return &snapshot{
		services: services, nodes: nodes, pods: pods, ready: readyNodes(slices), reserved: c.reserved,
		sockets: c.machine.look(func(err error) { c.log.Warn("sockets of this machine", "error", err) }),
	}, nil
}

// readyNodes finds the nodes that run ready endpoints, for each service.
func readyNodes(slices []*discoveryv1.EndpointSlice) map[types.NamespacedName]map[string]bool {
	ready := map[types.NamespacedName]map[string]bool{}
	for _, slice := range slices {
		name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
		for _, endpoint := range slice.Endpoints {
			if endpoint.NodeName == nil || endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
				continue
			}
			if ready[name] == nil {
				ready[name] = map[string]bool{}
			}
			ready[name][*endpoint.NodeName] = true
		}
	}
	return ready
}

// trim keeps of the objects in the informers' caches what is needed here: little, of pods
// without host ports nothing but the name.
func trim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Pod:
		small := &corev1.Pod{ObjectMeta: o.ObjectMeta}
		small.ManagedFields, small.Annotations, small.OwnerReferences = nil, nil, nil
		if len(hostPortsOf(o)) == 0 {
			small.Labels = nil
			return small, nil
		}
		small.Spec.NodeName, small.Status.Phase = o.Spec.NodeName, o.Status.Phase
		for _, containers := range [][]corev1.Container{o.Spec.InitContainers, o.Spec.Containers} {
			for _, c := range containers {
				small.Spec.Containers = append(small.Spec.Containers, corev1.Container{Name: c.Name, Ports: c.Ports})
			}
		}
		return small, nil
	case *corev1.Node:
		o.ManagedFields, o.Annotations, o.Status.Images = nil, nil, nil
	case *discoveryv1.EndpointSlice:
		o.ManagedFields, o.Ports = nil, nil
		for i := range o.Endpoints {
			e := o.Endpoints[i]
			o.Endpoints[i] = discoveryv1.Endpoint{NodeName: e.NodeName, Conditions: e.Conditions}
		}
	}
	return object, nil
}
