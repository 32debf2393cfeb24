package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// packagedDeployments are the Deployments of kube-system that come with a node.
var packagedDeployments = []string{"coredns", "local-path-provisioner", "metrics-server", "traefik"}

// awaitAddOns waits until the packaged add-ons are applied and their pods Ready, and says when that was.
func (s *site) awaitAddOns(ctx context.Context) (time.Time, error) {
	client, err := s.client()
	if err != nil {
		return time.Time{}, err
	}
	err = await(ctx, installPatience, func(ctx context.Context) error {
		for _, name := range packagedDeployments {
			d, err := client.AppsV1().Deployments("kube-system").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if d.Spec.Replicas == nil || d.Status.ReadyReplicas != *d.Spec.Replicas || d.Status.ObservedGeneration < d.Generation {
				return fmt.Errorf("add-on %s is not Ready", name)
			}
		}
		return nil
	})
	return time.Now(), err
}
