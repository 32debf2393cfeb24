package corefile

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// An Event tells of files that are left out where a user of the cluster looks: among the events of the ConfigMap that
// they are keys of.
type Event struct {
	Namespace, ConfigMap string
	Pod                  string // whose DNS it is
}

// Post posts the event about one file.
func (e Event) Post(ctx context.Context, file string, why error) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	config.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	now := metav1.Now()
	_, err = client.CoreV1().Events(e.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: e.ConfigMap + ".", Namespace: e.Namespace},
		InvolvedObject: corev1.ObjectReference{Kind: "ConfigMap", APIVersion: "v1", Namespace: e.Namespace, Name: e.ConfigMap},
		Type:           corev1.EventTypeWarning,
		Reason:         "LeftOut",
		Message:        shorten(fmt.Sprintf("%s is left out of cluster DNS: %v", filepath.Base(file), why)),
		Source:         corev1.EventSource{Component: "coredns", Host: e.Pod},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	return err
}

// shorten keeps a message within what an event may have.
func shorten(text string) string {
	const most = 1024
	if len(text) <= most {
		return text
	}
	return text[:most-3] + "..."
}
