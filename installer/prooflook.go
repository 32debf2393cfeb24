package installer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// notHeld is what a node's mirror says of an image that it has not, and unreachable why asking for it elsewhere is in vain where no route leads
// out (registry/mirror). A registry in the cluster, which refuses connections until it is up, is another matter.
const notHeld = "this node does not hold"

var unreachable = []string{"there is no registry to ask for it", "its name cannot be resolved", "there is no network route to it"}

// inVain are the reasons for which a container waits whose image will never be had, whatever the mirror says (pkg/kubelet/images).
var inVain = []string{"InvalidImageName", "ErrImageNeverPull"}

// proofLook is a cluster at one moment, as far as a proof wants to know.
type proofLook struct {
	cluster
	events    list[eventObject] // of failures
	workloads []workload
}

// eventObject is what is read of an Event.
type eventObject struct {
	Involved struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"involvedObject"`
	Message string `json:"message"`
}

// workload is what is read of an object that makes pods.
type workload struct {
	kind     string     // "deployment"
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		Replicas    *int        `json:"replicas"`
		Suspend     bool        `json:"suspend"`
		Template    podTemplate `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template podTemplate `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64       `json:"observedGeneration"`
		ReadyReplicas      int         `json:"readyReplicas"`
		Desired            int         `json:"desiredNumberScheduled"`
		NumberReady        int         `json:"numberReady"`
		Active             int         `json:"active"`
		Conditions         []condition `json:"conditions"`
	} `json:"status"`
}

// podTemplate is what pods are made from.
type podTemplate struct {
	Spec podSpec `json:"spec"`
}

// workloadPaths are where the API server has the workloads, by kind.
var workloadPaths = map[string]string{
	"deployment": "/apis/apps/v1/deployments", "statefulset": "/apis/apps/v1/statefulsets", "daemonset": "/apis/apps/v1/daemonsets",
	"job": "/apis/batch/v1/jobs", "cronjob": "/apis/batch/v1/cronjobs",
}

// read asks the API server of a kubeconfig.
func (l *proofLook) read(ctx context.Context, kubeconfig string) error {
	if err := l.cluster.read(ctx, kubeconfig); err != nil {
		return err
	}
	k, err := openKube(kubeconfig)
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.get(ctx, "/api/v1/events?fieldSelector=reason%3DFailed", &l.events); err != nil {
		return err
	}
	for kind, path := range sorted(workloadPaths) {
		var some list[workload]
		if err := k.get(ctx, path, &some); err != nil {
			return err
		}
		for _, w := range some.Items {
			w.kind = kind
			l.workloads = append(l.workloads, w)
		}
	}
	return nil
}

// refusedPulls are the images that pods want and will not get, those of pods that have come and gone since among them: of these only
// events tell, without the mirror's reason, so that what counts is whether the image is among carried.
func (l *proofLook) refusedPulls(carried map[string]bool) []Unproven {
	var refused []Unproven
	const nowhere = "neither this bundle nor one before it has it"
	there := map[string]bool{}
	for _, pod := range l.pods.Items {
		there[pod.name()] = true
		for _, c := range pod.containers() {
			switch waiting := c.status.State.Waiting; {
			case waiting == nil:
			case slices.Contains(inVain, waiting.Reason):
				refused = append(refused, Unproven{pod.name(), c.image, waiting.Reason + ": " + firstLine(waiting.Message)})
			case isNowhere(waiting.Message):
				refused = append(refused, Unproven{pod.name(), c.image, nowhere})
			}
		}
	}
	for _, event := range l.events.Items {
		pod := objectName("pod", event.Involved.Namespace, event.Involved.Name)
		image, failed := failedPull(event.Message)
		if failed && event.Involved.Kind == "Pod" && !there[pod] && lacks(carried, image) {
			refused = append(refused, Unproven{pod, image, nowhere})
		}
	}
	return refused
}

// isNowhere says whether a message has the mirror's word that an image cannot be had.
func isNowhere(message string) bool {
	return strings.Contains(message, notHeld) && slices.ContainsFunc(unreachable, func(why string) bool { return strings.Contains(message, why) })
}

// lacks says whether an image is not among carried, by its name: a list of names tells nothing of digests.
func lacks(carried map[string]bool, image string) bool {
	name, err := reference.ParseDockerRef(image)
	if err != nil {
		return true
	}
	_, byDigest := name.(reference.Digested)
	return !byDigest && !carried[name.String()]
}

// failedPull is the image in the message of the kubelet's event, `Failed to pull image "x": why`.
func failedPull(message string) (image string, ok bool) {
	_, rest, found := strings.Cut(message, `Failed to pull image "`)
	if !found {
		return "", false
	}
	image, _, ok = strings.Cut(rest, `"`)
	return image, ok
}

// missingImages are the images of workloads that start no pod now (a CronJob, a Deployment of none) which are not among carried.
func (l *proofLook) missingImages(carried map[string]bool) []Unproven {
	var missing []Unproven
	for _, w := range l.workloads {
		var spec podSpec
		switch {
		case w.kind == "cronjob":
			spec = w.Spec.JobTemplate.Spec.Template.Spec
		case w.kind == "job" && w.Spec.Suspend, w.Spec.Replicas != nil && *w.Spec.Replicas == 0, w.kind == "daemonset" && w.Status.Desired == 0:
			spec = w.Spec.Template.Spec
		}
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			if lacks(carried, c.Image) {
				missing = append(missing, Unproven{w.name(), c.Image, "no bundle has it, for when it starts pods"})
			}
		}
	}
	return missing
}

// waiting is what has yet to become Ready; files are the manifests that must have been applied.
func (l *proofLook) waiting(files []string) []Unproven {
	var waiting []Unproven
	wait := func(object, image, why string) { waiting = append(waiting, Unproven{object, image, why}) }
	applied := map[string]bool{}
	for _, record := range l.addOns.Items {
		file, state := record.Data["file"], record.Data["state"]
		if applied[file] = true; state != "Applied" {
			wait("manifest "+file, "", state+" "+firstLine(record.Data["message"]))
		}
	}
	for _, file := range files {
		if !applied[file] {
			wait("manifest "+file, "", "not applied yet")
		}
	}
	for _, chart := range l.charts.Items {
		if !chart.Status.IsReady(chart.Generation) {
			why := chart.Status.Reason()
			if message, failed := chart.Status.IsFailed(chart.Generation); failed {
				why = firstLine(message)
			}
			wait("release "+chart.Name, "", why)
		}
	}
	for _, pod := range l.pods.Items {
		if image, why := pod.lacking(); why != "" {
			wait(pod.name(), image, why)
		}
	}
	for _, w := range l.workloads {
		if why := w.lacking(); why != "" {
			wait(w.name(), "", why)
		}
	}
	return waiting
}

func objectName(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

func (w workload) name() string { return objectName(w.kind, w.Metadata.Namespace, w.Metadata.Name) }

// lacking says what a workload lacks; nothing if it has what it wants. A Job that goes on is its pods' matter.
func (w workload) lacking() string {
	wanted, ready := 1, w.Status.ReadyReplicas
	switch w.kind {
	case "cronjob":
		return ""
	case "job":
		if failed := conditionOf(w.Status.Conditions, "Failed"); failed.Status == "True" {
			return "failed: " + firstLine(failed.Message)
		}
		if !w.Spec.Suspend && w.Status.Active == 0 && conditionOf(w.Status.Conditions, "Complete").Status != "True" {
			return "no pod of it runs"
		}
		return ""
	case "daemonset":
		wanted, ready = w.Status.Desired, w.Status.NumberReady
	default:
		if w.Spec.Replicas != nil {
			wanted = *w.Spec.Replicas
		}
	}
	if failure := conditionOf(w.Status.Conditions, "ReplicaFailure"); failure.Status == "True" {
		return firstLine(failure.Message)
	}
	if w.Status.ObservedGeneration < w.Metadata.Generation {
		return "not looked at yet"
	}
	if ready < wanted {
		return fmt.Sprintf("%d of %d pods Ready", ready, wanted)
	}
	return ""
}
