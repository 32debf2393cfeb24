package agent

import (
	"bytes"
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"text/template"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	images "airgap/airgap-images"
	"airgap/internal/atomicfile"
	"airgap/internal/child"
)

//go:embed containerd.toml
var containerdTemplate string

// containerdConfig is what containerd.toml is filled in with.
type containerdConfig struct {
	Root, State, Socket string
	CNIBins             []string
	CNIConf             string
	Runc, RuncRoot      string
	PauseImage          string
	Snapshotter         string
	RegistryHosts       string
	RestrictOOMScoreAdj bool
	DisabledPlugins     []string
}

// unusedPlugins of containerd: other snapshotters and differs, NRI, tracing. Each
// costs memory and start-up time. "opt" makes /opt/containerd, and prefers what programs and libraries
// somebody has left there to ours.
var unusedPlugins = []string{
	"io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.erofs",
	"io.containerd.snapshotter.v1.native",
	"io.containerd.differ.v1.erofs",
	"io.containerd.nri.v1.nri",
	"io.containerd.image-verifier.v1.bindir",
	"io.containerd.internal.v1.tracing",
	"io.containerd.tracing.processor.v1.otlp",
	"io.containerd.monitor.container.v1.restart",
	"io.containerd.internal.v1.opt",
}

func (a *agent) writeContainerdConfig() (string, error) {
	pauseImage := a.config.PauseImage
	if pauseImage == "" {
		pauseImage = images.Reference("pause")
	}
	t, err := template.New("containerd.toml").Parse(containerdTemplate)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, containerdConfig{
		Root: a.paths.Containerd(), State: a.paths.ContainerdState(), Socket: a.paths.ContainerdSocket(),
		CNIBins: a.cniBins(), CNIConf: a.cniConf(), Runc: filepath.Join(a.bin, "runc"), RuncRoot: filepath.Join(a.paths.Run(), "runc"),
		PauseImage: pauseImage, Snapshotter: a.config.Snapshotter, RegistryHosts: a.paths.RegistryHosts(),
		RestrictOOMScoreAdj: a.limits.noResource, DisabledPlugins: unusedPlugins,
	}); err != nil {
		return "", err
	}
	if err := os.MkdirAll(a.cniConf(), 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(a.paths.AgentEtc(), "containerd.toml")
	return file, atomicfile.Write(file, out.Bytes(), 0o600)
}

// runContainerd keeps containerd running as a child until ctx is done.
func (a *agent) runContainerd(ctx context.Context) error {
	file, err := a.writeContainerdConfig()
	if err != nil {
		return err
	}
	return child.Run(ctx, child.Spec{
		Name: "containerd", Path: a.options.Executable, Args: []string{"airgap", "containerd", "--config", file},
		Env: child.WithPath(a.options.Env, a.bin), Log: a.options.Log, Stop: 3 * time.Second,
		Report: func(format string, args ...any) { klog.Warningf(format, args...) },
	})
}

// waitForRuntime returns when containerd's CRI answers and has nothing of a time to come, after making sure again that
// no image can be collected as garbage: there is nowhere to pull it from.
func (a *agent) waitForRuntime(ctx context.Context, client *containerd.Client, runtime chan error) error {
	cri := runtimeapi.NewRuntimeServiceClient(client.Conn().(grpc.ClientConnInterface))
	for {
		_, err := cri.Status(ctx, &runtimeapi.StatusRequest{})
		if err == nil {
			break
		}
		klog.V(2).InfoS("waiting for containerd", "err", err)
		if err := pause(ctx, 50*time.Millisecond, runtime); err != nil {
			return err
		}
	}
	if err := forgetFuture(ctx, cri, time.Now()); err != nil {
		return err
	}
	missing, err := a.pin(ctx, client)
	for _, name := range missing {
		klog.InfoS("an image of an installed bundle is gone; install the bundle again", "image", name)
	}
	return err
}
