package installer

import (
	"encoding/json"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestProofLook shows clusters at one moment, as the API server tells of them, and what a proof makes of each.
func TestProofLook(t *testing.T) {
	const ready = `status: {phase: Running, conditions: [{type: Ready, status: "True"}], containerStatuses: [{name: main, ready: true}]}`
	for _, test := range []struct {
		name            string
		pods, workloads string // YAML of lists
		kind            string // of the workloads
		events          string
		refused, waits  []string
	}{
		{name: "all is well", kind: "deployment",
			pods:      `[{metadata: {name: web, namespace: demo}, spec: {containers: [{name: main, image: a:1}]}, ` + ready + `}]`,
			workloads: `[{metadata: {name: web, namespace: demo, generation: 2}, status: {observedGeneration: 2, readyReplicas: 1}}]`},
		{name: "an image that nobody has",
			pods: `[{metadata: {name: web, namespace: demo}, spec: {containers: [{name: main, image: "a:1"}]}, status: {phase: Pending, containerStatuses: [
				{name: main, state: {waiting: {reason: ErrImagePull, message: "this node does not hold docker.io/library/a:1, and there is no registry to ask for it; install"}}}]}}]`,
			refused: []string{"pod demo/web, image a:1: neither this bundle nor one before it has it"},
			waits:   []string{"pod demo/web, image a:1: ErrImagePull: this node does not hold docker.io/library/a:1, and there is no registry to ask for it; install"}},
		{name: "an image whose registry is somewhere else",
			pods: `[{metadata: {name: web, namespace: demo}, spec: {containers: [{name: main, image: "r.example/x:1"}]}, status: {phase: Pending, containerStatuses: [{name: main, state:
				{waiting: {reason: ErrImagePull, message: "failed to pull\nunavailable: this node does not hold r.example/x:1, and no registry gives it: r.example: its name cannot be resolved."}}}]}}]`,
			refused: []string{"pod demo/web, image r.example/x:1: neither this bundle nor one before it has it"},
			waits:   []string{"pod demo/web, image r.example/x:1: ErrImagePull: failed to pull"}},
		{name: "an image whose registry is in the cluster, and not up yet",
			pods: `[{metadata: {name: web, namespace: demo}, spec: {containers: [{name: main, image: "localhost:30500/x"}]}, status: {phase: Pending, containerStatuses: [{name: main, state:
				{waiting: {reason: ErrImagePull, message: "this node does not hold localhost:30500/x, and no registry gives it: localhost:30500: it refuses the connection"}}}]}}]`,
			events: `[{involvedObject: {kind: Pod, namespace: demo, name: web}, message: 'Failed to pull image "localhost:30500/x": 403 Forbidden'}]`,
			waits:  []string{"pod demo/web, image localhost:30500/x: ErrImagePull: this node does not hold localhost:30500/x, and no registry gives it: localhost:30500: it refuses the connection"}},
		{name: "of an init container",
			pods: `[{metadata: {name: web, namespace: demo}, spec: {initContainers: [{name: first, image: i}], containers: [{name: main, image: a}]},
				status: {phase: Pending, initContainerStatuses: [{name: first, state: {waiting: {reason: ErrImageNeverPull, message: never}}}],
				containerStatuses: [{name: main, state: {waiting: {reason: PodInitializing}}}]}}]`,
			refused: []string{"pod demo/web, image i: ErrImageNeverPull: never"},
			waits:   []string{"pod demo/web, image i: ErrImageNeverPull: never"}},
		{name: "a pod that has come and gone",
			events: `[{involvedObject: {kind: Pod, namespace: demo, name: gone}, message: 'Failed to pull image "r.example/x:1": unexpected status from HEAD request: 403 Forbidden'},
				{involvedObject: {kind: Pod, namespace: demo, name: gone}, message: 'Error: ErrImagePull'},
				{involvedObject: {kind: Pod, namespace: demo, name: gone}, message: 'Failed to pull image "carried": not now'}]`,
			refused: []string{"pod demo/gone, image r.example/x:1: neither this bundle nor one before it has it"}},
		{name: "a pull that may yet succeed",
			pods: `[{metadata: {name: web, namespace: demo}, spec: {containers: [{name: main, image: a}]},
				status: {phase: Pending, containerStatuses: [{name: main, state: {waiting: {reason: ImagePullBackOff, message: "connection refused"}}}]}}]`,
			events: `[{involvedObject: {kind: Pod, namespace: demo, name: web}, message: 'Failed to pull image "a": connection refused'}]`,
			waits:  []string{"pod demo/web, image a: ImagePullBackOff: connection refused"}},
		{name: "a container that ends",
			pods: `[{metadata: {name: web, namespace: demo}, spec: {containers: [{name: side, image: s}, {name: main, image: a}]}, status: {phase: Running, containerStatuses: [
				{name: side, ready: true}, {name: main, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 7}}}]}}]`,
			waits: []string{"pod demo/web, image a: CrashLoopBackOff (container main ended with status 7)"}},
		{name: "a CronJob's image", kind: "cronjob",
			workloads: `[{metadata: {name: nightly, namespace: demo}, spec: {jobTemplate: {spec: {template: {spec: {containers: [
				{name: one, image: backup:3}, {name: two, image: carried}, {name: three, image: "carried@sha256:0123456789012345678901234567890123456789012345678901234567890123"}]}}}}}}]`,
			refused: []string{"cronjob demo/nightly, image backup:3: no bundle has it, for when it starts pods"}},
		{name: "a Deployment of none", kind: "deployment",
			workloads: `[{metadata: {name: none, namespace: demo}, spec: {replicas: 0, template: {spec: {containers: [{name: one, image: "not an image"}]}}}}]`,
			refused:   []string{"deployment demo/none, image not an image: no bundle has it, for when it starts pods"}},
		{name: "a DaemonSet whose pods are refused", kind: "daemonset",
			workloads: `[{metadata: {name: log, namespace: demo}, status: {desiredNumberScheduled: 1, conditions: [{type: ReplicaFailure, status: "True", message: forbidden}]}}]`,
			waits:     []string{"daemonset demo/log: forbidden"}},
		{name: "Jobs: done with a pod that failed first, failed, not begun", kind: "job",
			pods: `[{metadata: {name: sum-1, namespace: demo, ownerReferences: [{kind: Job}]}, status: {phase: Failed}}, {metadata: {name: sum-2, namespace: demo}, status: {phase: Succeeded}}]`,
			workloads: `[{metadata: {name: sum, namespace: demo}, status: {conditions: [{type: Complete, status: "True"}]}},
				{metadata: {name: bad, namespace: demo}, status: {conditions: [{type: Failed, status: "True", message: "too often"}]}}, {metadata: {name: new, namespace: demo}}]`,
			waits: []string{"job demo/bad: failed: too often", "job demo/new: no pod of it runs"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var look proofLook
			for text, into := range map[string]any{test.pods: &look.pods.Items, test.workloads: &look.workloads, test.events: &look.events.Items} {
				data, err := yaml.YAMLToJSON([]byte(text))
				if err == nil && text != "" {
					err = json.Unmarshal(data, into)
				}
				if err != nil {
					t.Fatalf("%v in %s", err, text)
				}
			}
			for i := range look.workloads {
				look.workloads[i].kind = test.kind
			}
			carried := map[string]bool{"docker.io/library/carried:latest": true}
			if got := texts(slices.Concat(look.refusedPulls(carried), look.missingImages(carried))); !slices.Equal(got, test.refused) {
				t.Errorf("refused: %q\nwant %q", got, test.refused)
			}
			if got := texts(look.waiting(nil)); !slices.Equal(got, test.waits) {
				t.Errorf("waits for %q\nwant %q", got, test.waits)
			}
		})
	}
}

func texts(problems []Unproven) (all []string) {
	for _, problem := range problems {
		all = append(all, problem.String())
	}
	return all
}

// A manifest that the bundle has, and of which the deployer has not told, is waited for.
func TestProofLookManifests(t *testing.T) {
	var look proofLook
	look.addOns.Items = []configMapObject{
		{Data: map[string]string{"file": "demo/one.yaml", "state": "Applied"}},
		{Data: map[string]string{"file": "demo/two.yaml", "state": "Failed", "message": "no such kind"}},
	}
	want := []string{"manifest demo/two.yaml: Failed no such kind", "manifest demo/three.yaml: not applied yet"}
	if got := texts(look.waiting([]string{"demo/one.yaml", "demo/three.yaml"})); !slices.Equal(got, want) {
		t.Errorf("waits for %q\nwant %q", got, want)
	}
}
