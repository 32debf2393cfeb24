package installer

import (
	"fmt"
	"slices"
)

func (p podObject) name() string { return objectName("pod", p.Metadata.Namespace, p.Metadata.Name) }

// isWell says whether the pod is Ready, or has done what it was to do.
func (p podObject) isWell() bool {
	return p.Status.Phase == "Succeeded" || conditionOf(p.Status.Conditions, "Ready").Status == "True"
}

// lacking says what keeps the pod from being Ready, and the image of the container that does; nothing if all is well. Of a Job's pod that has
// failed the Job knows whether that matters, and a pod that is being deleted need not be anything.
func (p podObject) lacking() (image, why string) {
	ofJob := slices.ContainsFunc(p.Metadata.Owners, func(o owner) bool { return o.Kind == "Job" })
	if p.isWell() || p.Metadata.DeletionTimestamp != "" || p.Status.Phase == "Failed" && ofJob {
		return "", ""
	}
	why = p.why()
	for _, c := range p.containers() {
		if c.status.State.Waiting == nil && c.status.Ready {
			continue
		}
		if end := c.status.LastState.Terminated; end != nil {
			why += fmt.Sprintf(" (container %s ended with status %d)", c.status.Name, end.ExitCode)
		}
		if c.status.State.Waiting != nil {
			image = c.image
			break
		}
		if image == "" {
			image = c.image
		}
	}
	return image, why
}

// podContainer is a container of a pod with the image that it is to be started from.
type podContainer struct {
	image  string
	status containerStatus
}

// containers are those that the kubelet has told of.
func (p podObject) containers() []podContainer {
	images := map[string]string{}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		images[c.Name] = c.Image
	}
	var all []podContainer
	for _, status := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		all = append(all, podContainer{images[status.Name], status})
	}
	return all
}

// startedFrom are the images of which containers have been started.
func (p podObject) startedFrom() []string {
	var images []string
	for _, c := range p.containers() {
		if c.status.State.Waiting == nil || c.status.LastState.Terminated != nil {
			images = append(images, c.image)
		}
	}
	return images
}
