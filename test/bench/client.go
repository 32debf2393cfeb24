package main

import (
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// client speaks with the site's API server as its administrator. kubectl would do as well, and cost
// more than what it asks about.
func (s *site) client() (kubernetes.Interface, error) {
	settings, err := clientcmd.BuildConfigFromFlags("", s.paths.Kubeconfig())
	if err != nil {
		return nil, err
	}
	settings.Dial = s.Dial
	settings.Timeout = 2 * time.Second
	settings.QPS = -1 // no limit
	return kubernetes.NewForConfig(settings)
}
