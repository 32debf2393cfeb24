package servicelb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node makes a Ready node with an InternalIP for each address.
func node(name string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

func labelled(n *corev1.Node, pairs ...string) *corev1.Node {
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		n.Labels[key] = value
	}
	return n
}

// service makes a service of type LoadBalancer, one minute younger for each age, with TCP ports.
func service(name string, age int, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, Labels: map[string]string{},
		CreationTimestamp: metav1.NewTime(time.Unix(0, 0).Add(-time.Duration(age) * time.Minute)),
	}}
	s.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": name},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
	}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", p), Protocol: corev1.ProtocolTCP, Port: p})
	}
	return s
}

func with(s *corev1.Service, change func(*corev1.Service)) *corev1.Service {
	change(s)
	return s
}

// holding gives a service an address in its status, as an earlier decision did.
func holding(s *corev1.Service, address string) *corev1.Service {
	s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, ingress(s, netip.MustParseAddr(address)))
	return s
}

func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}
func dual(s *corev1.Service) {
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
}

// pod makes a running pod with a host port.
func pod(name, node, hostIP string, port int32, pairs ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{}}}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		p.Labels[key] = value
	}
	p.Spec.NodeName = node
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{HostIP: hostIP, HostPort: port, Protocol: corev1.ProtocolTCP}}}}
	return p
}

func ended(p *corev1.Pod) *corev1.Pod {
	p.Status.Phase = corev1.PodSucceeded
	return p
}

func TestDecide(t *testing.T) {
	const one, two = "10.0.0.1", "10.0.0.2"
	listeningOn80 := func(node string, at place) socketState {
		switch {
		case node != "a":
			return unknown
		case at.port.Number == 80:
			return used
		}
		return free
	}
	both := []*corev1.Node{node("b", two), node("a", one)}

	for name, test := range map[string]struct {
		snapshot
		want   map[string]string // service: its addresses, blank between
		says   map[string]string // service: part of what it is told; "": it is told nothing
		waits  bool              // somebody waits for a socket
		absent []string          // services that are another's
	}{
		"every node": {
			snapshot: snapshot{nodes: both, services: []*corev1.Service{service("web", 1, 80)}},
			want:     map[string]string{"web": one + " " + two}, says: map[string]string{"web": ""},
		},
		"class": {
			snapshot: snapshot{nodes: both, services: []*corev1.Service{
				with(service("ours", 1, 80), func(s *corev1.Service) { s.Spec.LoadBalancerClass = new(Class) }),
				with(service("other", 2, 80), func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/metal") }),
				with(service("none", 3, 80), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
			}},
			want: map[string]string{"ours": one + " " + two}, absent: []string{"other", "none"},
		},
		"node not ready": {
			snapshot: snapshot{services: []*corev1.Service{service("web", 1, 80)}, nodes: []*corev1.Node{node("a", one), func() *corev1.Node {
				n := node("b", two)
				n.Status.Conditions[0].Status = corev1.ConditionUnknown
				return n
			}()}},
			want: map[string]string{"web": one},
		},
		"no node": {
			snapshot: snapshot{services: []*corev1.Service{service("web", 1, 80)}},
			want:     map[string]string{"web": ""}, says: map[string]string{"web": "no node is Ready"},
		},
		"excluded": {
			snapshot: snapshot{services: []*corev1.Service{service("web", 1, 80)}, nodes: []*corev1.Node{
				node("a", one), labelled(node("b", two), corev1.LabelNodeExcludeBalancers+"="),
			}},
			want: map[string]string{"web": one},
		},
		"one node is enabled": {
			snapshot: snapshot{services: []*corev1.Service{service("web", 1, 80)}, nodes: []*corev1.Node{
				node("a", one), labelled(node("b", two), EnableLabel+"=true"),
			}},
			want: map[string]string{"web": two},
		},
		"one node is disabled": {
			snapshot: snapshot{services: []*corev1.Service{service("web", 1, 80)}, nodes: []*corev1.Node{
				node("a", one), labelled(node("b", two), EnableLabel+"=false"),
			}},
			want: map[string]string{"web": ""}, says: map[string]string{"web": EnableLabel + "=true"},
		},
		"pools": {
			snapshot: snapshot{
				nodes: []*corev1.Node{
					labelled(node("a", one), EnableLabel+"=true", PoolLabel+"=left"),
					labelled(node("b", two), EnableLabel+"=true", PoolLabel+"=right"),
				},
				services: []*corev1.Service{
					service("any", 3, 90),
					with(service("left", 2, 80), func(s *corev1.Service) { s.Labels[PoolLabel] = "left" }),
					with(service("right", 1, 80), func(s *corev1.Service) { s.Labels[PoolLabel] = "right" }),
					with(service("middle", 0, 70), func(s *corev1.Service) { s.Labels[PoolLabel] = "middle" }),
				},
			},
			want: map[string]string{"any": one + " " + two, "left": one, "right": two, "middle": ""},
			says: map[string]string{"left": "", "right": "", "middle": PoolLabel + "=middle"},
		},
		"local": {
			snapshot: snapshot{
				nodes: both, services: []*corev1.Service{with(service("web", 1, 80), local), with(service("idle", 1, 90), local)},
				ready: map[types.NamespacedName]map[string]bool{{Namespace: "default", Name: "web"}: {"b": true}},
			},
			want: map[string]string{"web": two, "idle": ""}, says: map[string]string{"idle": "runs a ready pod"},
		},
		"dual stack": {
			snapshot: snapshot{
				nodes:    []*corev1.Node{node("a", one, "fd00::1"), node("b", two)},
				services: []*corev1.Service{with(service("web", 1, 80), dual), service("four", 1, 90)},
			},
			want: map[string]string{"web": "fd00::1 " + one + " " + two, "four": one + " " + two},
		},
		"family without an address": {
			snapshot: snapshot{nodes: both, services: []*corev1.Service{
				with(service("web", 1, 80), func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }),
			}},
			want: map[string]string{"web": ""}, says: map[string]string{"web": "IPv6"},
		},
		"external addresses": {
			snapshot: snapshot{services: []*corev1.Service{service("web", 1, 80)}, nodes: []*corev1.Node{node("b", two), func() *corev1.Node {
				n := node("a", one)
				n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.1"})
				return n
			}()}},
			want: map[string]string{"web": "192.0.2.1 " + two},
		},
		"requested address": {
			snapshot: snapshot{nodes: both, services: []*corev1.Service{
				with(service("web", 1, 80), func(s *corev1.Service) { s.Spec.LoadBalancerIP = two }),
				with(service("far", 1, 90), func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.9" }),
			}},
			want: map[string]string{"web": two, "far": ""}, says: map[string]string{"far": "192.0.2.9"},
		},

		"the oldest first": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{service("young", 1, 80), service("old", 2, 80)}},
			want:     map[string]string{"old": one, "young": ""},
			says:     map[string]string{"old": "", "young": "TCP port 80 of 10.0.0.1 (a) is taken by service default/old"},
		},
		"who has, keeps": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{service("old", 2, 80), holding(service("young", 1, 80), one)}},
			want:     map[string]string{"old": "", "young": one},
		},
		"a new port is not held yet": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{
				holding(service("young", 1, 80), one),
				with(holding(service("old", 2, 81), one), func(s *corev1.Service) { s.Spec.Ports[0].Port = 80 }),
			}},
			want: map[string]string{"old": "", "young": one},
		},
		"protocols differ": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{
				service("tcp", 2, 53), with(service("udp", 1, 53), func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }),
			}},
			want: map[string]string{"tcp": one, "udp": one},
		},
		"all ports or none": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{service("https", 2, 443), service("both", 1, 80, 443), service("http", 0, 80)}},
			want:     map[string]string{"https": one, "both": "", "http": one},
			says:     map[string]string{"both": "TCP port 443"},
		},
		"conflict on one node": {
			snapshot: snapshot{nodes: both, pods: []*corev1.Pod{pod("nginx", "b", "", 80)}, services: []*corev1.Service{service("web", 1, 80)}},
			want:     map[string]string{"web": one}, says: map[string]string{"web": "TCP port 80 of 10.0.0.2 (b) is taken by pod default/nginx as its host port"},
		},
		"host port of an ended pod": {
			snapshot: snapshot{nodes: both, pods: []*corev1.Pod{ended(pod("job", "b", "", 80))}, services: []*corev1.Service{service("web", 1, 80)}},
			want:     map[string]string{"web": one + " " + two},
		},
		"host port on another address": {
			snapshot: snapshot{nodes: both, pods: []*corev1.Pod{pod("nginx", "b", "127.0.0.1", 80)}, services: []*corev1.Service{service("web", 1, 80)}},
			want:     map[string]string{"web": one + " " + two},
		},
		"host port of its own pod": {
			snapshot: snapshot{
				nodes: []*corev1.Node{node("a", one)}, pods: []*corev1.Pod{pod("web-1", "a", "", 80, "app=web")},
				services: []*corev1.Service{service("web", 1, 80)}, sockets: listeningOn80,
			},
			want: map[string]string{"web": one}, says: map[string]string{"web": ""},
		},
		"node port of another": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{
				service("web", 1, 30080), with(service("other", 0, 90), func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 }),
			}},
			want: map[string]string{"web": "", "other": one}, says: map[string]string{"web": "service default/other as its node port"},
		},
		"node port of its own": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{
				with(service("web", 1, 30080), func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 }),
			}},
			want: map[string]string{"web": one},
		},
		"a process listens": {
			snapshot: snapshot{nodes: both, services: []*corev1.Service{service("web", 1, 80)}, sockets: listeningOn80},
			want:     map[string]string{"web": two}, says: map[string]string{"web": "by a process of the node"}, waits: true,
		},
		"a process that came later": {
			snapshot: snapshot{nodes: []*corev1.Node{node("a", one)}, services: []*corev1.Service{holding(service("web", 1, 80), one)}, sockets: listeningOn80},
			want:     map[string]string{"web": one}, says: map[string]string{"web": ""},
		},
		"the node's own port": {
			snapshot: snapshot{
				nodes:    []*corev1.Node{node("a", one)},
				services: []*corev1.Service{holding(service("web", 1, 6443), one)},
				reserved: map[Port]string{{corev1.ProtocolTCP, 6443}: "the API server"},
			},
			want: map[string]string{"web": ""}, says: map[string]string{"web": "by the API server"},
		},
		"sshd of another machine": {
			snapshot: snapshot{nodes: both, services: []*corev1.Service{service("git", 1, 22)}, sockets: listeningOn80},
			want:     map[string]string{"git": one}, says: map[string]string{"git": "TCP port 22 of 10.0.0.2 (b) is taken by sshd"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.snapshot
			s.nodes = slices.Clone(s.nodes)
			if s.sockets == nil {
				s.sockets = func(string, place) socketState { return free }
			}
			waits := false
			verdicts := s.decide()
			for _, service := range s.services {
				v, found := verdicts[nameOf(service)]
				waits = waits || v.waits
				if found == slices.Contains(test.absent, service.Name) {
					t.Errorf("%s: decided on: %v", service.Name, found)
				}
				var got []string
				for _, entry := range v.ingress {
					got = append(got, entry.IP)
					if *entry.IPMode != corev1.LoadBalancerIPModeVIP || len(entry.Ports) != len(service.Spec.Ports) {
						t.Errorf("%s: entry %+v", service.Name, entry)
					}
				}
				if want := test.want[service.Name]; strings.Join(got, " ") != want {
					t.Errorf("%s: addresses %q, want %q (%s%v)", service.Name, got, want, v.noNode, v.conflicts)
				}
				told := strings.Join(append(v.conflicts, v.noNode), "; ")
				if want, listed := test.says[service.Name]; listed && (!strings.Contains(told, want) || want == "" && told != "; " && told != "") {
					t.Errorf("%s is told %q, want %q", service.Name, told, want)
				}
			}
			if waits != test.waits {
				t.Errorf("waits for a socket: %v, want %v", waits, test.waits)
			}
		})
	}
}
