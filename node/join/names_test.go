package join

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"airgap/internal/site"
	"airgap/node/config"
)

func (s *server) isFree(name string) bool {
	_, err := s.handler.names.get(s.t.Context(), name)
	return apierrors.IsNotFound(err)
}

func TestNameBelongsToItsMachine(t *testing.T) {
	s := newServer(t, nil)
	first := s.machine("n1", "10.0.0.2")
	s.join(first)
	second := s.machine("n1", "10.0.0.3")
	_, err := second.Join(t.Context(), nil)
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "delete secret n1.node-password.airgap")
	s.register("n1", "10.0.0.2")
	_, err = second.Join(t.Context(), nil)
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "`airgap kubectl delete node n1`")

	// The deliberate act, and the new machine is n1; the old one is not any more.
	if err := s.api.CoreV1().Nodes().Delete(t.Context(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.eventually("the name to be free", func() bool { return s.isFree("n1") })
	s.join(second)
	_, err = first.Join(t.Context(), nil)
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "belongs to another machine")
}

func TestDeletedLateTakesNoNewName(t *testing.T) {
	s := newServer(t, nil)
	m := s.machine("n1", "10.0.0.2")
	s.join(m)
	secret, err := s.handler.names.get(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	old := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))}}
	secret.CreationTimestamp = metav1.Now() // a fake API server gives none
	if _, err := s.api.CoreV1().Secrets("kube-system").Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.handler.names.deleted(t.Context(), old); err != nil || s.isFree("n1") {
		t.Errorf("the news of an old Node's end frees the name of the new one: %v", err)
	}
}

func TestReconcile(t *testing.T) {
	s := newServer(t, nil)
	s.join(s.machine("joining", "10.0.0.2"))
	s.join(s.machine("registered", "10.0.0.3"))
	s.register("registered", "10.0.0.3")
	s.join(s.machine("gone", "10.0.0.4"))
	s.clock.advance(Grace - time.Minute)
	s.join(s.machine("late", "10.0.0.5"))
	check := func(want map[string]bool) {
		t.Helper()
		if err := s.handler.names.reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, free := range want {
			if s.isFree(name) != free {
				t.Errorf("%s is free: %v", name, !free)
			}
		}
	}
	check(map[string]bool{"joining": false, "registered": false, "gone": false, "late": false, "first": false})
	s.clock.advance(2 * time.Minute)
	check(map[string]bool{"joining": true, "registered": false, "gone": true, "late": false, "first": false})
}

// Bundles are to be had from the server, and from nodes that are ready and say they hold the same.
func TestPeers(t *testing.T) {
	s := newServer(t, nil)
	annotate := func(name, bundles string, ready corev1.ConditionStatus) {
		t.Helper()
		node, err := s.api.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.Annotations = map[string]string{config.PeerPortAnnotation: "7000", config.BundlesAnnotation: bundles}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		if _, err := s.api.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"same", "ill", "older"} {
		s.register(name, fmt.Sprintf("10.0.0.%d", 2+i))
	}
	annotate("first", "site=1.4.0@sha256:aa", corev1.ConditionTrue)
	annotate("same", "site=1.4.0@sha256:aa", corev1.ConditionTrue)
	annotate("ill", "site=1.4.0@sha256:aa", corev1.ConditionUnknown)
	annotate("older", "site=1.3.0@sha256:bb", corev1.ConditionTrue)
	s.eventually("the peers", func() bool { return slices.Equal(s.handler.Peers(), []string{"10.0.0.1:6446", "10.0.0.2:7000"}) })
	if got := s.join(s.machine("n9", "10.0.0.9")).Cluster.Peers; len(got) != 2 {
		t.Errorf("a joiner is told of %q", got)
	}
}

// The name of the server's own node is taken before anybody can join, and stays taken when its Node is deleted.
func TestOwnName(t *testing.T) {
	s := newServer(t, nil)
	file := filepath.Join(s.paths.AgentPKI(), site.FilePassword)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if err := s.api.CoreV1().Nodes().Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.register("n9", "10.0.0.9") // news that comes after the first
	time.Sleep(50 * time.Millisecond)
	_, err = s.machine("first", "10.0.0.5").Join(t.Context(), nil)
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "belongs to another machine")

	// A server that lost the file takes its name back.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := s.handler.keepOwn(t.Context()); err != nil {
		t.Fatal(err)
	}
	password, err := site.LoadPassword(s.paths.AgentPKI())
	secret, getErr := s.handler.names.get(t.Context(), "first")
	if err != nil || getErr != nil || !opens(secret, password) {
		t.Errorf("%v, %v", err, getErr)
	}
}

func TestClone(t *testing.T) {
	s := newServer(t, nil)
	s.join(s.machine("n1", "10.0.0.2"))
	clone := s.machine("n2", "10.0.0.3")
	clone.Host = host("n1")
	warnings := s.join(clone).Warnings
	if len(warnings) != 1 || !strings.Contains(warnings[0], "/etc/machine-id") || !strings.Contains(warnings[0], "host keys") || !strings.Contains(warnings[0], "of node n1") {
		t.Errorf("warnings %q", warnings)
	}
	events, err := s.api.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(events.Items) != 1 || events.Items[0].InvolvedObject.Name != "n2" || events.Items[0].Reason != "ClonedMachine" ||
		events.Items[0].InvolvedObject.APIVersion != "v1" { // kubectl events --for looks for it
		t.Errorf("events %+v, %v", events, err)
	}
	copied := s.machine("n3", "10.0.0.4")
	copied.Host = host("0000")
	if warnings := s.join(copied).Warnings; len(warnings) != 1 || !strings.Contains(warnings[0], "of node first") {
		t.Errorf("a copy of the server: %q", warnings)
	}
	if warnings := s.join(s.machine("n4", "10.0.0.5")).Warnings; len(warnings) != 0 {
		t.Errorf("a machine of its own: %q", warnings)
	}
}

func TestLeave(t *testing.T) {
	s := newServer(t, nil)
	s.handler.draining = time.Second
	m := s.machine("n1", "10.0.0.2")
	s.join(m)
	s.register("n1", "10.0.0.2")
	pod := func(name string, owner string) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "demo"}, Spec: corev1.PodSpec{NodeName: "n1"}}
		if owner != "" {
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{Kind: owner, Name: "owner", Controller: &yes}}
		}
		if err := s.api.Tracker().Add(p); err != nil {
			t.Fatal(err)
		}
	}
	pod("web", "ReplicaSet")
	pod("guarded", "ReplicaSet")
	budget := true
	s.api.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		name := action.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction).Name
		if name == "guarded" && budget {
			return true, nil, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10)
		}
		return true, nil, s.api.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "demo", name)
	})
	client := s.node(m)
	response, err := client.Leave(t.Context(), site.LeaveRequest{Password: s.password(m)})
	if err != nil || response.Left || len(response.Waiting) != 1 || !strings.Contains(response.Waiting[0], "demo/guarded: Cannot evict pod") {
		t.Fatalf("with a budget in the way: %+v, %v", response, err)
	}
	node, err := s.api.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil || !node.Spec.Unschedulable || s.isFree("n1") {
		t.Errorf("the node is %+v, %v", node.Spec, err)
	}
	budget = false
	if response, err = client.Leave(t.Context(), site.LeaveRequest{Password: s.password(m)}); err != nil || !response.Left {
		t.Fatalf("%+v, %v", response, err)
	}
	if _, err := s.api.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{}); !apierrors.IsNotFound(err) || !s.isFree("n1") {
		t.Errorf("the node is still there: %v", err)
	}
	_, err = client.Leave(t.Context(), site.LeaveRequest{Password: s.password(m)})
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "was deleted from the cluster")

	// The machine that has the name now is not thrown out by the one that had it.
	s.join(s.machine("n1", "10.0.0.2"))
	_, err = client.Leave(t.Context(), site.LeaveRequest{Password: s.password(m), Force: true})
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "was deleted from the cluster")
	if err := s.handler.names.free(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	// With force, pods or not.
	s.join(m)
	s.register("n1", "10.0.0.2")
	pod("stuck", "ReplicaSet")
	if response, err = client.Leave(t.Context(), site.LeaveRequest{Password: s.password(m), Force: true}); err != nil || !response.Left {
		t.Errorf("with force: %+v, %v", response, err)
	}
}

// A server that stops does not wait for pods to end, and the machine that leaves asks again.
func TestStopEndsWhatIsUnderWay(t *testing.T) {
	s := newServer(t, nil)
	m := s.machine("n1", "10.0.0.2")
	s.join(m)
	s.register("n1", "10.0.0.2")
	if err := s.api.Tracker().Add(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "ending", Namespace: "demo", DeletionTimestamp: &metav1.Time{Time: time.Now()}, Finalizers: []string{"site.example/slow"}},
		Spec:       corev1.PodSpec{NodeName: "n1"},
	}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	time.AfterFunc(500*time.Millisecond, s.stop)
	_, err := s.node(m).Leave(t.Context(), site.LeaveRequest{Password: s.password(m)})
	wantRefusal(t, err, http.StatusServiceUnavailable, site.CodeBusy, "try again")
	if waited := time.Since(began); waited > drainTime/2 {
		t.Errorf("the stop took %s", waited)
	}
}

func TestServerDoesNotLeave(t *testing.T) {
	s := newServer(t, nil)
	own := s.machine("first", "10.0.0.1")
	own.PKI = s.paths.AgentPKI()
	_, err := s.node(own).Leave(t.Context(), site.LeaveRequest{})
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "cannot leave")
}
