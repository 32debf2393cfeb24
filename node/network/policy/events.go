package policy

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// reporter tells users, by events on a policy, what of it has no effect.
type reporter struct {
	api   kubernetes.Interface
	node  string
	dirty []string            // keys of policies to look at
	told  map[string]struct{} // names of events made by this process
}

func (r *reporter) changed(key string) { r.dirty = append(r.dirty, key) }

// podChanged has those policies of a namespace looked at about which there may be something to say now.
func (r *reporter) podChanged(m *model, namespace string) {
	for name, p := range m.policies[namespace] {
		if len(p.problems) > 0 || slices.ContainsFunc(p.rules[ingress], func(r rule) bool { return len(r.named) > 0 }) {
			r.changed(namespace + "/" + name)
		}
	}
}

// maxMessageBytes is what the API takes.
const maxMessageBytes = 1024

// report looks at the changed policies. A node tells of those alone that select a pod of its own, so that
// a large site does not say everything once per node.
func (r *reporter) report(ctx context.Context, m *model, objects map[string]*networkingv1.NetworkPolicy) {
	for _, key := range r.dirty {
		namespace, name, _ := strings.Cut(key, "/")
		p, object := m.policies[namespace][name], objects[key]
		if p == nil || object == nil || !m.selectsLocal(p) {
			continue
		}
		problems := slices.Concat(p.problems, m.undefined(p))
		if len(problems) == 0 {
			continue
		}
		message := strings.Join(problems, "; ")
		event := &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace,
				// Of the content, so that an agent that starts again does not say it again.
				Name: comment(name) + "." + digest(string(object.UID)+message+r.node),
			},
			InvolvedObject: corev1.ObjectReference{
				APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy",
				Namespace: namespace, Name: name, UID: object.UID, ResourceVersion: object.ResourceVersion,
			},
			Type: corev1.EventTypeWarning, Reason: "Ineffective", Message: message[:min(len(message), maxMessageBytes)],
			Source:         corev1.EventSource{Component: "airgap-network-policy", Host: r.node},
			FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 1,
		}
		if _, ok := r.told[event.Namespace+"/"+event.Name]; ok {
			continue
		}
		r.told[event.Namespace+"/"+event.Name] = struct{}{}
		// An event is not worth delaying what the next packets wait for.
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			if _, err := r.api.CoreV1().Events(namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				klog.ErrorS(err, "a policy is partly ineffective, and no event could say so", "policy", key, "problems", message)
			}
		}()
	}
	r.dirty = nil
}

func (m *model) selectsLocal(p *policy) bool {
	for _, pod := range m.pods[p.namespace] {
		if pod.local && !pod.unknown && p.pods.Matches(pod.labels) {
			return true
		}
	}
	return false
}
