package flannel

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

// serveNodes serves an API with these nodes on a socket: what the machines of a test see of a
// cluster. The objects are client-go's fake's; the wire between is real.
func serveNodes(t *testing.T, nodes ...*corev1.Node) (socket string, api *fake.Clientset) {
	t.Helper()
	api = fake.NewClientset()
	for _, n := range nodes {
		if err := api.Tracker().Add(n); err != nil {
			t.Fatal(err)
		}
	}
	socket = filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: nodesHandler{api}}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket, api
}

func nodeWith(name string, podCIDRs ...string) *corev1.Node {
	return &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.NodeSpec{PodCIDR: podCIDRs[0], PodCIDRs: podCIDRs},
	}
}

type nodesHandler struct{ api *fake.Clientset }

func (h nodesHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	nodes := h.api.CoreV1().Nodes()
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v1/nodes"), "/")
	w.Header().Set("Content-Type", "application/json")
	answer := func(object any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(object)
	}
	switch {
	case r.Method == http.MethodPatch:
		patch, _ := io.ReadAll(r.Body)
		answer(nodes.Patch(r.Context(), name, types.PatchType(r.Header.Get("Content-Type")), patch, metav1.PatchOptions{}))
	case r.URL.Query().Get("sendInitialEvents") == "true":
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`, http.StatusUnprocessableEntity)
	case r.URL.Query().Get("watch") != "":
		h.watch(w, r)
	default:
		list, err := nodes.List(r.Context(), metav1.ListOptions{})
		if err == nil {
			list.TypeMeta, list.ResourceVersion = metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, "1"
		}
		answer(list, err)
	}
}

// watch sends every node first, as a watch without a resource version does, and then what happens.
func (h nodesHandler) watch(w http.ResponseWriter, r *http.Request) {
	changes, err := h.api.CoreV1().Nodes().Watch(r.Context(), metav1.ListOptions{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer changes.Stop()
	send := func(kind string, node *corev1.Node) {
		node = node.DeepCopy()
		node.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": node})
		w.(http.Flusher).Flush()
	}
	list, err := h.api.CoreV1().Nodes().List(r.Context(), metav1.ListOptions{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	only := strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	for _, node := range list.Items {
		if only == "" || only == node.Name {
			send("ADDED", &node)
		}
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-changes.ResultChan():
			if node, ok := event.Object.(*corev1.Node); ok && (only == "" || only == node.Name) {
				send(fmt.Sprint(event.Type), node)
			}
		}
	}
}
