package servicelb

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"airgap/internal/hostinfo"
)

// cluster is an API server in memory with a controller at work.
type cluster struct {
	t *testing.T
	*fake.Clientset
}

func run(t *testing.T, objects ...runtime.Object) cluster {
	t.Helper()
	c := cluster{t, fake.NewClientset(objects...)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- New(Options{Client: c, Node: "a", Host: hostinfo.This(), Reserved: map[Port]string{{corev1.ProtocolTCP, 6443}: "the API server"}}).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

// wait returns a service's status once it has the addresses.
func (c cluster) wait(name, addresses string) corev1.ServiceStatus {
	c.t.Helper()
	var status corev1.ServiceStatus
	for range 200 {
		s, err := c.CoreV1().Services("default").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		if status = s.Status; addressList(s) == addresses {
			return status
		}
		time.Sleep(25 * time.Millisecond)
	}
	c.t.Fatalf("service %s never got %s; its status: %+v", name, addresses, status)
	return status
}

func (c cluster) setReady(name string, status corev1.ConditionStatus) {
	c.t.Helper()
	n, err := c.CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	n.Status.Conditions[0].Status = status
	if _, err := c.CoreV1().Nodes().UpdateStatus(context.Background(), n, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// freePort is a port that nothing on this machine listens on, and no connection of its uses.
func freePort(t *testing.T) int32 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return int32(netip.MustParseAddrPort(l.Addr().String()).Port())
}

func TestNodesComeAndGo(t *testing.T) {
	port := freePort(t)
	c := run(t, node("a", "10.0.0.1"), node("b", "10.0.0.2"), service("web", 1, port))
	c.wait("web", "10.0.0.1, 10.0.0.2")
	c.setReady("b", corev1.ConditionFalse)
	c.wait("web", "10.0.0.1")
	c.setReady("a", corev1.ConditionUnknown)
	status := c.wait("web", "none")
	if told := meta.FindStatusCondition(status.Conditions, NoNode); told == nil || told.Message != "no node is Ready" {
		t.Errorf("conditions %+v", status.Conditions)
	}
	c.setReady("b", corev1.ConditionTrue)
	if status = c.wait("web", "10.0.0.2"); len(status.Conditions) != 0 {
		t.Errorf("conditions stay: %+v", status.Conditions)
	}
}

func TestConflictIsToldAndResolved(t *testing.T) {
	port := freePort(t)
	c := run(t, node("a", "10.0.0.1"), service("first", 2, port), service("second", 1, port))
	c.wait("first", "10.0.0.1")
	condition := c.waitForCondition("second", corev1.LoadBalancerPortsError)
	if want := fmt.Sprintf("TCP port %d of 10.0.0.1 (a) is taken by service default/first", port); condition.Message != want {
		t.Errorf("condition %q, want %q", condition.Message, want)
	}
	c.waitForEvent("second", reasonPortsInUse, "service default/first")
	if err := c.CoreV1().Services("default").Delete(context.Background(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if status := c.wait("second", "10.0.0.1"); len(status.Conditions) != 0 {
		t.Errorf("conditions stay: %+v", status.Conditions)
	}
	c.waitForEvent("second", reasonUpdated, "10.0.0.1")
}

// The sockets of this very machine: 10.0.0.1 need not be its address, for this one listens on all.
func TestProcessKeepsItsPort(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	tcp := int32(netip.MustParseAddrPort(l.Addr().String()).Port())
	udp := int32(netip.MustParseAddrPort(u.LocalAddr().String()).Port())
	c := run(t, node("a", "10.0.0.1"), service("tcp", 1, tcp), with(service("udp", 1, udp), func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }))
	for name, port := range map[string]int32{"tcp": tcp, "udp": udp} {
		condition := c.waitForCondition(name, corev1.LoadBalancerPortsError)
		if !strings.Contains(condition.Message, fmt.Sprint(port)) || !strings.Contains(condition.Message, "a process of the node") {
			t.Errorf("service %s: condition %q", name, condition.Message)
		}
	}
}

func TestLocalFollowsEndpoints(t *testing.T) {
	port := freePort(t)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-x", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Endpoints: []discoveryv1.Endpoint{
			{NodeName: new("a"), Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
			{NodeName: new("b"), Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
		},
	}
	c := run(t, node("a", "10.0.0.1"), node("b", "10.0.0.2"), with(service("web", 1, port), local), slice)
	c.wait("web", "10.0.0.2")
	moved := slice.DeepCopy()
	*moved.Endpoints[0].Conditions.Ready, *moved.Endpoints[1].Conditions.Ready = true, false
	if _, err := c.DiscoveryV1().EndpointSlices("default").Update(context.Background(), moved, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.wait("web", "10.0.0.1")
}

func TestAnothersServiceIsLeftAlone(t *testing.T) {
	other := with(service("other", 1, freePort(t)), func(s *corev1.Service) {
		s.Spec.LoadBalancerClass = new("example.com/metal")
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}
		s.Status.Conditions = []metav1.Condition{{Type: corev1.LoadBalancerPortsError, Status: metav1.ConditionTrue}}
	})
	c := run(t, node("a", "10.0.0.1"), other, service("ours", 1, freePort(t)))
	c.wait("ours", "10.0.0.1")
	if status := c.wait("other", "192.0.2.7"); len(status.Conditions) != 1 {
		t.Errorf("conditions %+v", status.Conditions)
	}
}

func TestWithdraw(t *testing.T) {
	ours := holding(service("ours", 1, 80), "10.0.0.1")
	meta.SetStatusCondition(&ours.Status.Conditions, metav1.Condition{Type: NoNode, Status: metav1.ConditionTrue, Reason: reasonNoNode})
	c := cluster{t, fake.NewClientset(node("a", "10.0.0.1"), ours,
		holding(service("anothers-address", 1, 80), "192.0.2.7"),
		with(holding(service("anothers-class", 1, 80), "10.0.0.1"), func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/metal") }),
	)}
	if err := Withdraw(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if status := c.wait("ours", "none"); len(status.Conditions) != 0 {
		t.Errorf("conditions %+v", status.Conditions)
	}
	c.wait("anothers-address", "192.0.2.7")
	c.wait("anothers-class", "10.0.0.1")
}

func (c cluster) waitForCondition(name, kind string) *metav1.Condition {
	c.t.Helper()
	for range 200 {
		s, err := c.CoreV1().Services("default").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		if found := meta.FindStatusCondition(s.Status.Conditions, kind); found != nil {
			if len(s.Status.LoadBalancer.Ingress) != 0 {
				c.t.Errorf("service %s has %s and the addresses %s", name, kind, addressList(s))
			}
			return found
		}
		time.Sleep(25 * time.Millisecond)
	}
	c.t.Fatalf("service %s never got the condition %s", name, kind)
	return nil
}

func (c cluster) waitForEvent(about, reason, text string) {
	c.t.Helper()
	for range 200 {
		events, err := c.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Name == about && e.Reason == reason && strings.Contains(e.Message, text) {
				return
			}
		}
		time.Sleep(25 * time.Millisecond)
	}
	c.t.Fatalf("no event %s about %s with %q", reason, about, text)
}
