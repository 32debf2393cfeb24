package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// containerdVariable is the path of a containerd executable. Without it the test of what containerd itself sees
// is skipped: it takes a minute to build.
const containerdVariable = "AIRGAP_TEST_CONTAINERD"

// startContainerd starts a real containerd, with CRI, on a root that the store has let go of.
func startContainerd(t *testing.T, root string) *containerd.Client {
	t.Helper()
	folder := t.TempDir()
	socket, config, logPath := filepath.Join(folder, "s"), filepath.Join(folder, "config.toml"), filepath.Join(folder, "log")
	text := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\n[grpc]\naddress = %q\n", root, filepath.Join(folder, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	daemon := exec.Command(os.Getenv(containerdVariable), "--config", config)
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Signal(syscall.SIGTERM)
		daemon.Wait()
		if t.Failed() {
			data, _ := os.ReadFile(logPath)
			t.Logf("containerd's log:\n%s", data)
		}
	})
	client, err := containerd.New(socket, containerd.WithTimeout(30*time.Second), containerd.WithDefaultNamespace(Namespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	for range 300 {
		if _, err = cri.NewRuntimeServiceClient(connection(client)).Version(context.Background(), &cri.VersionRequest{}); err == nil {
			return client
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("containerd's CRI does not answer: %v", err)
	return nil
}

// connection is the gRPC connection that containerd's client has, for CRI's clients.
func connection(client *containerd.Client) grpc.ClientConnInterface {
	return client.Conn().(grpc.ClientConnInterface)
}

// TestContainerdSeesImages imports, then lets containerd open what was written.
func TestContainerdSeesImages(t *testing.T) {
	if os.Getenv(containerdVariable) == "" {
		t.Skipf("%s is not set", containerdVariable)
	}
	root := t.TempDir()
	s := openTestStore(t, root)
	b := newBlobs()
	base := b.layer(gzipped, folder("bin", 0o755), file("bin/sh", "#!"), folder("tmp", 0o1777))
	own := b.layer(func(d []byte) []byte { return zstdPacked(d) }, file("tmp/.wh.x", ""), file("srv/data", "1"))
	amd64 := b.image("amd64", base, own)
	index := b.index(map[string]ocispec.Descriptor{"amd64": amd64, "arm64": b.image("arm64", b.layer(gzipped, file("arm", "1")))})
	single := b.image("amd64", base)
	importAll(t, s, b, testImages("l", map[string]ocispec.Descriptor{
		"docker.io/library/app:1": index, "airgap.internal/pause:3.10": single}))
	want := checkWhole(t, s)
	s.Close()

	client := startContainerd(t, root)
	if _, err := OpenStore(root); !errors.Is(err, ErrInUse) {
		t.Errorf("store opened under a running containerd: %v", err)
	}
	ctx := inNamespace(context.Background())
	check := func() {
		t.Helper()
		list, err := client.ListImages(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, image := range list {
			names = append(names, image.Name())
			complete, _, _, missing, err := images.Check(ctx, image.ContentStore(), image.Target(), platforms.Default())
			if err != nil || !complete {
				t.Errorf("%s: complete %v, missing %v, %v", image.Name(), complete, missing, err)
			}
			if unpacked, err := image.IsUnpacked(ctx, "overlayfs"); err != nil || !unpacked {
				t.Errorf("%s: unpacked %v, %v", image.Name(), unpacked, err)
			}
		}
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("containerd has %v, want %v", names, want)
		}
	}
	check()
	// The end of a lease makes containerd collect its garbage: all must be referred to. (An image would do as
	// well, but CRI, told of its creation, may name it again after it is gone.)
	lease, err := client.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	if err := client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	check()

	// The kubelet asks by tag and by digest, and must not have to pull.
	service := cri.NewImageServiceClient(connection(client))
	for name, target := range map[string]ocispec.Descriptor{"app:1": index, "airgap.internal/pause:3.10": single} {
		parsed, err := parseName(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, reference := range []string{name, parsed.repo + "@" + target.Digest.String()} {
			status, err := service.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: reference}})
			if err != nil || status.Image == nil {
				t.Errorf("CRI does not have %s: %v", reference, err)
				continue
			}
			if !status.Image.Pinned || !slices.Contains(status.Image.RepoTags, parsed.full) ||
				!slices.Contains(status.Image.RepoDigests, parsed.repo+"@"+target.Digest.String()) {
				t.Errorf("CRI says of %s: %v", reference, status.Image)
			}
		}
	}
	list, err := service.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil || len(list.Images) != 2 {
		t.Errorf("CRI lists %v, %v; want 2 images", list.GetImages(), err)
	}
	// The pins come back when something took them away.
	record, err := client.ImageService().Get(ctx, "docker.io/library/app:1")
	if err != nil {
		t.Fatal(err)
	}
	record.Labels = map[string]string{LabelManaged: Managed}
	if _, err := client.ImageService().Update(ctx, record, "labels"); err != nil {
		t.Fatal(err)
	}
	if missing, err := Pin(ctx, client.ImageService(), []string{"app:1"}); err != nil || len(missing) > 0 {
		t.Errorf("pin: missing %v, %v", missing, err)
	}
	if record, err = client.ImageService().Get(ctx, "docker.io/library/app:1"); err != nil || record.Labels[LabelPinned] != Pinned {
		t.Errorf("labels %v, %v", record.Labels, err)
	}
}
