package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	images "airgap/airgap-images"
)

const (
	podCount      = 100
	podsPatience  = 5 * time.Minute
	podsRest      = 20 * time.Second // before memory is read
	podsNodeFlags = "max-pods=150"   // of the kubelet, on both sides
)

// plainNode are the flags of a node without packaged add-ons: the separate processes have none either.
var plainNode = []string{"--disable", "coredns,traefik,metrics-server,local-storage,servicelb", "--kubelet-arg", podsNodeFlags}

// podsSide are the figures of one of the two ways to run a node.
type podsSide struct {
	ready         series // seconds until all pods are Ready
	before, after series // MB of the components, shims included
	shims         series // MB of these after it
}

// benchPods creates 100 pods at once on a node of airgap, and on one of upstream's components as processes of their own
// with etcd, in turn.
func benchPods(ctx context.Context, b *bench) error {
	if err := b.buildComponents(ctx); err != nil {
		return err
	}
	sides := []*podsSide{{}, {}}
	for run := range b.runs {
		order := []int{0, 1}
		if run%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			say("pods: run %d of %d, %s", run+1, b.runs, []string{"airgap", "separate processes"}[i])
			if err := b.podsOnce(ctx, sides[i], i == 1); err != nil {
				return err
			}
		}
	}
	ours, theirs := sides[0], sides[1]
	row := func(title, unit string, of func(*podsSide) series) []string {
		return []string{title, of(ours).in(unit), of(theirs).in(unit), ratios(of(ours), of(theirs)).in("×")}
	}
	fmt.Printf("A Deployment of %d pods of one container (pause), no add-ons on either side:\n\n", podCount)
	printTable([]string{"", "airgap", "separate processes with etcd", "airgap ÷ separate"}, [][]string{
		row("created until all are Ready", "s", func(p *podsSide) series { return p.ready }),
		row("memory (PSS) before", "MB", func(p *podsSide) series { return p.before }),
		row("memory (PSS) with the pods", "MB", func(p *podsSide) series { return p.after }),
		row(fmt.Sprintf("… of which the %d shims", podCount), "MB", func(p *podsSide) series { return p.shims }),
	})
	b.hold(fmt.Sprintf("%d pods Ready, airgap ÷ separate processes", podCount), ratios(ours.ready, theirs.ready).median(), 1, "×")
	b.hold(fmt.Sprintf("memory with %d pods, airgap ÷ separate processes", podCount), ratios(ours.after, theirs.after).median(), 1, "×")
	return nil
}

// podsOnce measures one side on a machine of its own.
func (b *bench) podsOnce(ctx context.Context, side *podsSide, separately bool) (err error) {
	s, err := b.newSite()
	if err != nil {
		return err
	}
	defer s.end(&err)
	if _, err := output(s.install(ctx, b.built("dist/system.airgap"), plainNode...)); err != nil {
		return err
	}
	node := s.processes
	if separately {
		began := time.Now()
		components, err := s.startSeparately(ctx)
		if components != nil {
			defer components.stop(&err)
		}
		if err != nil {
			return err
		}
		if _, err := s.awaitReady(ctx, began); err != nil {
			return fmt.Errorf("%w\n%s", err, components.logs())
		}
		node = func() []process { return append(components.processes(), s.shims()...) }
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	if err := pause(ctx, podsRest); err != nil {
		return err
	}
	before, _, err := memoryOf(node())
	if err != nil {
		return err
	}
	settle()
	took, err := s.createPods(ctx, client)
	if err != nil {
		return err
	}
	if err := pause(ctx, podsRest); err != nil {
		return err
	}
	after, shims, err := memoryOf(node())
	if err != nil {
		return err
	}
	side.ready = append(side.ready, took.Seconds())
	side.before, side.after, side.shims = append(side.before, before), append(side.after, after), append(side.shims, shims)
	// A deletion in order leaves the site's removal nothing of 100 pods to kill.
	policy := metav1.DeletePropagationForeground
	return client.AppsV1().Deployments("default").Delete(ctx, "many", metav1.DeleteOptions{PropagationPolicy: &policy})
}

// createPods creates the pods and returns how long it took until all were Ready.
func (s *site) createPods(ctx context.Context, client kubernetes.Interface) (time.Duration, error) {
	labels := map[string]string{"app": "many"}
	replicas, grace := int32(podCount), int64(0)
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "many"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &grace,
					Containers:                    []corev1.Container{{Name: "pause", Image: images.Reference("pause"), ImagePullPolicy: corev1.PullIfNotPresent}},
				},
			},
		},
	}
	began := time.Now()
	if err := await(ctx, time.Minute, func(ctx context.Context) error { // until the namespace's account is there
		_, err := client.AppsV1().Deployments("default").Create(ctx, deployment, metav1.CreateOptions{})
		return err
	}); err != nil {
		return 0, err
	}
	err := await(ctx, podsPatience, func(ctx context.Context) error {
		d, err := client.AppsV1().Deployments("default").Get(ctx, "many", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas != podCount {
			err = fmt.Errorf("%d of %d pods are Ready", d.Status.ReadyReplicas, podCount)
		}
		return err
	})
	return time.Since(began), err
}

// shims are the processes that hold the site's pods.
func (s *site) shims() []process {
	return slices.DeleteFunc(s.processes(), func(p process) bool { return p.role != "shim" })
}

// memoryOf sums memory in MB: of all, and of the shims among them.
func memoryOf(list []process) (all, shims float64, err error) {
	memory, _, err := shares(list)
	for _, mb := range memory {
		all += mb
	}
	return all, memory["shim"], err
}
