package agent

import (
	"reflect"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestLeftoversAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	before, after := now.Add(-time.Minute).UnixNano(), now.Add(time.Minute).UnixNano()
	sandbox := func(id string, state runtimeapi.PodSandboxState, created int64) *runtimeapi.PodSandbox {
		return &runtimeapi.PodSandbox{Id: id, State: state, CreatedAt: created}
	}
	container := func(id, sandbox string, state runtimeapi.ContainerState, created int64) *runtimeapi.Container {
		return &runtimeapi.Container{Id: id, PodSandboxId: sandbox, State: state, CreatedAt: created}
	}
	const ready, over = runtimeapi.PodSandboxState_SANDBOX_READY, runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	const running, exited, unknown = runtimeapi.ContainerState_CONTAINER_RUNNING, runtimeapi.ContainerState_CONTAINER_EXITED, runtimeapi.ContainerState_CONTAINER_UNKNOWN
	found := leftoversAfter(now, []*runtimeapi.PodSandbox{
		sandbox("alive", ready, after),
		sandbox("old", over, before),
		sandbox("newer", over, after),
	}, []*runtimeapi.Container{
		container("serves", "alive", running, after),
		container("restarted", "alive", exited, after),
		container("finished", "alive", exited, before),
		container("lost", "old", unknown, after),
		container("goes along", "newer", exited, after),
	})
	want := leftovers{sandboxes: []string{"newer"}, containers: []string{"restarted", "lost"}}
	if !reflect.DeepEqual(found, want) {
		t.Errorf("found %+v, want %+v", found, want)
	}
}
