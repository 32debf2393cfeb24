package crictl

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// InspectContainers prints what the runtime knows of containers.
func (c *Client) InspectContainers(ctx context.Context, ids []string, v View) error {
	return forEach(ids, func(id string) error {
		response, err := c.runtime.ContainerStatus(ctx, id, !v.Quiet)
		if err != nil {
			return err
		}
		return c.printInspected(response.GetStatus(), response.GetInfo(), v)
	})
}

// InspectPods is inspectp.
func (c *Client) InspectPods(ctx context.Context, ids []string, v View) error {
	return forEach(ids, func(id string) error {
		response, err := c.runtime.PodSandboxStatus(ctx, id, !v.Quiet)
		if err != nil {
			return err
		}
		return c.printInspected(response.GetStatus(), response.GetInfo(), v)
	})
}

// InspectImages is inspecti.
func (c *Client) InspectImages(ctx context.Context, images []string, v View) error {
	return forEach(images, func(name string) error {
		response, err := c.images.ImageStatus(ctx, &runtime.ImageSpec{Image: name}, !v.Quiet)
		if err != nil {
			return err
		}
		if response.GetImage() == nil {
			return errors.New("no such image")
		}
		return c.printInspected(response.GetImage(), response.GetInfo(), v)
	})
}

// printInspected prints one thing's status with what else the runtime tells of it.
func (c *Client) printInspected(status proto.Message, info map[string]string, v View) error {
	value, err := withInfo(status, info)
	if err != nil {
		return err
	}
	return c.value(value, v.Output)
}

// PrintInfo is info: the runtime's conditions and configuration.
func (c *Client) PrintInfo(ctx context.Context, v View) error {
	response, err := c.runtime.Status(ctx, !v.Quiet)
	if err != nil {
		return err
	}
	status, err := plain(response.GetStatus())
	if err != nil {
		return err
	}
	value := map[string]any{}
	for name, text := range response.GetInfo() {
		value[name] = decoded(text)
	}
	value["status"] = status
	return c.value(value, v.Output)
}

// PrintVersion is version.
func (c *Client) PrintVersion(ctx context.Context) error {
	v, err := c.runtime.Version(ctx, "")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n",
		v.GetVersion(), v.GetRuntimeName(), v.GetRuntimeVersion(), v.GetRuntimeApiVersion())
	return err
}

// PrintEvents prints what happens to containers, as JSON, until ctx is done.
func (c *Client) PrintEvents(ctx context.Context, format string) error {
	events := make(chan *runtime.ContainerEventResponse, 16)
	ended := make(chan error, 1)
	go func() { ended <- c.runtime.GetContainerEvents(ctx, events, nil) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case event := <-events:
			if err := c.message(event, format); err != nil {
				return err
			}
		}
	}
}
