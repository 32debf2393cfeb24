package crictl

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestOutputIsCrictls(t *testing.T) {
	var out bytes.Buffer
	c := &Client{Streams: Streams{Out: &out}, now: time.Now}
	list := &runtime.ListContainersResponse{Containers: []*runtime.Container{{
		Id: "0a1b", State: runtime.ContainerState_CONTAINER_RUNNING, CreatedAt: 1700000000000000000,
		Metadata: &runtime.ContainerMetadata{Name: "web"}, Labels: map[string]string{"a": "<b>"},
	}}}
	if err := c.message(list, JSON); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"containers": [`, `"state": "CONTAINER_RUNNING"`, `"createdAt": "1700000000000000000"`, `"a": "<b>"`, `"podSandboxId": ""`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := c.message(list, YAML); err != nil || !strings.Contains(out.String(), "state: CONTAINER_RUNNING") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := c.message(list, "xml"); err == nil {
		t.Error("XML was printed")
	}
}

func TestInspectIsReadable(t *testing.T) {
	value, err := withInfo(&runtime.ContainerStatus{Id: "0a1b", StartedAt: 1700000000000000000}, map[string]string{"info": `{"pid":12}`, "text": "no JSON"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"startedAt":"2023-11-14T22:13:20Z"`, `"pid":12`, `"text":"no JSON"`, `"finishedAt":"0"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	c := &Client{Streams: Streams{Out: &out}}
	if err := c.table([]string{"IMAGE", "TAG"}, [][]string{{"docker.io/library/nginx", "1"}}); err != nil {
		t.Fatal(err)
	}
	if want := "IMAGE                     TAG\ndocker.io/library/nginx   1\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestWords(t *testing.T) {
	now := time.Unix(1700000000, 0)
	c := &Client{now: func() time.Time { return now }}
	id := "sha256:0123456789abcdef0123456789abcdef"
	for got, want := range map[string]string{
		c.ago(now.Add(-2 * time.Hour).UnixNano()): "2 hours ago",
		c.ago(0):         "unknown",
		size(31_234_567): "31.2MB",
		short(id, false): "0123456789abc",
		short(id, true):  "0123456789abcdef0123456789abcdef",
		containerState(runtime.ContainerState_CONTAINER_EXITED): "Exited",
		podState(runtime.PodSandboxState_SANDBOX_NOTREADY):      "NotReady",
		percent(usage(0, 0), usage(1000, 250)):                  "25.00",
		percent(usage(0, 500), usage(1000, 250)):                "0.00", // it was started again
		percent(nil, usage(1000, 250)):                          "0.00",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func usage(timestamp int64, nanoseconds uint64) *runtime.CpuUsage {
	return &runtime.CpuUsage{Timestamp: timestamp, UsageCoreNanoSeconds: &runtime.UInt64Value{Value: nanoseconds}}
}

func TestNames(t *testing.T) {
	for name, test := range map[string]struct {
		image *runtime.Image
		want  [][2]string
	}{
		"tags":    {&runtime.Image{RepoTags: []string{"localhost:5000/app:1", "docker.io/app:2"}, RepoDigests: []string{"x@sha256:1"}}, [][2]string{{"localhost:5000/app", "1"}, {"docker.io/app", "2"}}},
		"digests": {&runtime.Image{RepoDigests: []string{"docker.io/app@sha256:1"}}, [][2]string{{"docker.io/app", "<none>"}}},
		"nothing": {&runtime.Image{}, [][2]string{{"<none>", "<none>"}}},
	} {
		if got := names(test.image); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestSince(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "5m": now.Add(-5 * time.Minute), "2026-01-01T00:00:00Z": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := since(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	if _, err := since("yesterday", now); err == nil {
		t.Error("yesterday was understood")
	}
}
