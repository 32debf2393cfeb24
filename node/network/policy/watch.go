package policy

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// watchable finds the pods that can have policies or be peers; they leave the watch when they end.
var watchable = fields.AndSelectors(
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	fields.OneTermEqualSelector("spec.hostNetwork", "false"),
).String()

// follow calls set with every object of an informer's kind and with each change, nil for one that
// is gone. When it returns, set was called with all there were.
func follow[T any](ctx context.Context, informer cache.SharedIndexInformer, set func(namespace, name string, object *T)) error {
	key := func(object any) (string, string) {
		full, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
		if err != nil {
			panic(err) // only for what is no API object
		}
		namespace, name, _ := cache.SplitMetaNamespaceKey(full)
		return namespace, name
	}
	now := func(object any) {
		namespace, name := key(object)
		set(namespace, name, object.(*T))
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    now,
		UpdateFunc: func(_, object any) { now(object) },
		DeleteFunc: func(object any) {
			namespace, name := key(object)
			set(namespace, name, nil)
		},
	})
	if err != nil {
		return err
	}
	go informer.Run(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return ctx.Err()
	}
	return nil
}

func (c *Controller) policyInformer() cache.SharedIndexInformer {
	factory := informers.NewSharedInformerFactoryWithOptions(c.api, 0, informers.WithTransform(strip))
	return factory.Networking().V1().NetworkPolicies().Informer()
}

func (c *Controller) podInformer() cache.SharedIndexInformer {
	factory := informers.NewSharedInformerFactoryWithOptions(c.api, 0, informers.WithTransform(strip),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = watchable }))
	return factory.Core().V1().Pods().Informer()
}

func (c *Controller) namespaceInformer() cache.SharedIndexInformer {
	factory := informers.NewSharedInformerFactoryWithOptions(c.api, 0, informers.WithTransform(strip))
	return factory.Core().V1().Namespaces().Informer()
}

// strip leaves of an object what policies ask for: the informers keep nothing else.
func strip(object any) (any, error) {
	switch o := object.(type) {
	case *networkingv1.NetworkPolicy:
		return &networkingv1.NetworkPolicy{ObjectMeta: meta(o.ObjectMeta), Spec: o.Spec}, nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: meta(o.ObjectMeta)}, nil
	case *corev1.Pod:
		p := &corev1.Pod{ObjectMeta: meta(o.ObjectMeta)}
		if uid, ok := o.Annotations[mirrorAnnotation]; ok {
			p.Annotations = map[string]string{mirrorAnnotation: uid}
		}
		p.Spec.NodeName, p.Spec.HostNetwork = o.Spec.NodeName, o.Spec.HostNetwork
		p.Spec.Containers, p.Spec.InitContainers = namedPorts(o.Spec.Containers), namedPorts(o.Spec.InitContainers)
		p.Status.Phase, p.Status.PodIPs = o.Status.Phase, o.Status.PodIPs
		return p, nil
	}
	return object, nil
}

func meta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation, Labels: m.Labels}
}

func namedPorts(containers []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for _, c := range containers {
		var ports []corev1.ContainerPort
		for _, p := range c.Ports {
			if p.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort, Protocol: p.Protocol})
			}
		}
		if ports != nil {
			kept = append(kept, corev1.Container{Ports: ports, RestartPolicy: c.RestartPolicy})
		}
	}
	return kept
}

// waitForAccess returns when this node's identity may list policies. At a cluster's first start the API
// server answers before the role for it is made, and an informer would wait long before it asks again.
func waitForAccess(ctx context.Context, api kubernetes.Interface) error {
	for {
		_, err := api.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			return nil
		}
		klog.V(2).InfoS("network policies cannot be listed yet", "err", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("list network policies: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
