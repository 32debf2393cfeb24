package crictl

import (
	"context"
	"errors"
	"fmt"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StopContainers stops containers; one that has not ended after timeout, in seconds, is killed.
func (c *Client) StopContainers(ctx context.Context, ids []string, timeout int64) error {
	return forEach(ids, func(id string) error { return c.say(id, c.runtime.StopContainer(ctx, id, timeout)) })
}

// StopPods is stopp.
func (c *Client) StopPods(ctx context.Context, ids []string) error {
	return forEach(ids, func(id string) error {
		return c.say("Stopped sandbox "+id, c.runtime.StopPodSandbox(ctx, id))
	})
}

// RemoveContainers is rm: all of them, or those with the given IDs. A running one must be forced.
func (c *Client) RemoveContainers(ctx context.Context, ids []string, all, force bool) error {
	if all {
		list, err := c.runtime.ListContainers(ctx, nil)
		if err != nil {
			return err
		}
		ids = nil
		for _, k := range list {
			ids = append(ids, k.GetId())
		}
	}
	return forEach(ids, func(id string) error {
		response, err := c.runtime.ContainerStatus(ctx, id, false)
		if err != nil {
			return err
		}
		if response.GetStatus().GetState() == runtime.ContainerState_CONTAINER_RUNNING {
			if !force {
				return errors.New("it runs; stop it first, or use --force")
			}
			if err := c.runtime.StopContainer(ctx, id, 0); err != nil {
				return err
			}
		}
		return c.say(id, c.runtime.RemoveContainer(ctx, id))
	})
}

// RemovePods is rmp: all of them, or those with the given IDs. One that is ready must be forced.
func (c *Client) RemovePods(ctx context.Context, ids []string, all, force bool) error {
	if all {
		list, err := c.runtime.ListPodSandbox(ctx, nil)
		if err != nil {
			return err
		}
		ids = nil
		for _, p := range list {
			ids = append(ids, p.GetId())
		}
	}
	return forEach(ids, func(id string) error {
		response, err := c.runtime.PodSandboxStatus(ctx, id, false)
		if err != nil {
			return err
		}
		if response.GetStatus().GetState() == runtime.PodSandboxState_SANDBOX_READY {
			if !force {
				return errors.New("it is ready; stop it first, or use --force")
			}
			if err := c.runtime.StopPodSandbox(ctx, id); err != nil {
				return err
			}
		}
		return c.say("Removed sandbox "+id, c.runtime.RemovePodSandbox(ctx, id))
	})
}

func (c *Client) say(text string, err error) error {
	if err == nil {
		_, err = fmt.Fprintln(c.Out, text)
	}
	return err
}
