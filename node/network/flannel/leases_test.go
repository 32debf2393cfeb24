package flannel

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"airgap/node/config"
)

// leasesOf are those of a node in a cluster with these networks.
func leasesOf(t *testing.T, node *corev1.Node, cluster ...string) (*leases, *fake.Clientset) {
	t.Helper()
	conf, err := Options{Backend: config.FlannelVXLAN, Cluster: networks(cluster...)}.configuration(1500)
	if err != nil {
		t.Fatal(err)
	}
	api := fake.NewClientset(node)
	return &leases{api: api, node: node, config: conf, again: make(chan struct{}, 1)}, api
}

func TestAcquireLeaseAnnouncesTheNode(t *testing.T) {
	address, err := ip.ParseIP4("192.168.77.1")
	if err != nil {
		t.Fatal(err)
	}
	attrs := &lease.LeaseAttrs{BackendType: "vxlan", PublicIP: address, BackendData: json.RawMessage(`{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}`)}
	for name, test := range map[string]struct {
		annotations map[string]string
		publicIP    string
		writes      int
	}{
		"first":             {nil, "192.168.77.1", 1},
		"address overruled": {map[string]string{annotationOverwrite: "203.0.113.7"}, "203.0.113.7", 1},
		"as before": {map[string]string{
			annotationManaged: "true", annotationType: "vxlan", annotationPublicIP: "192.168.77.1", annotationData: string(attrs.BackendData),
		}, "192.168.77.1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			node := nodeWith("node", "10.42.3.0/24")
			node.Annotations = test.annotations
			l, api := leasesOf(t, node, "10.42.0.0/16")
			own, err := l.AcquireLease(context.Background(), attrs)
			if err != nil {
				t.Fatal(err)
			}
			if own.Subnet.String() != "10.42.3.0/24" {
				t.Errorf("the node's share is %s", own.Subnet)
			}
			if writes := len(api.Actions()); writes != test.writes {
				t.Errorf("%d requests, want %d", writes, test.writes)
			}
			stored, err := api.CoreV1().Nodes().Get(context.Background(), "node", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := stored.Annotations[annotationPublicIP]; got != test.publicIP {
				t.Errorf("announced address %s, want %s", got, test.publicIP)
			}
			if mac, _ := l.GetStoredMacAddresses(context.Background()); mac != "12:c6:65:89:b4:e3" {
				t.Errorf("the tunnel's stored address is %q", mac)
			}
		})
	}
}

func TestAcquireLeaseRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		shares, cluster []string
		want            string
	}{
		"another network": {[]string{"10.99.0.0/24"}, []string{"10.42.0.0/16"}, "another cluster-cidr"},
		"another IPv6":    {[]string{"fd99::/64"}, []string{"fd42::/56"}, "another cluster-cidr"},
		"family missing":  {[]string{"10.42.0.0/24"}, []string{"10.42.0.0/16", "fd42::/56"}, "lack a family"},
		"broken":          {[]string{"10.42.0.0"}, []string{"10.42.0.0/16"}, "pod network of node"},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := leasesOf(t, nodeWith("node", test.shares...), test.cluster...)
			_, err := l.AcquireLease(context.Background(), &lease.LeaseAttrs{BackendType: "vxlan"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// What a node keeps in memory of the others must not grow with what they report.
func TestEssence(t *testing.T) {
	node := nodeWith("node", "10.42.3.0/24")
	node.Annotations = map[string]string{annotationManaged: "true", "other": "x"}
	node.Status.Images = make([]corev1.ContainerImage, 50)
	object, err := essence(node)
	if err != nil {
		t.Fatal(err)
	}
	lean := object.(*corev1.Node)
	if len(lean.Status.Images) != 0 || len(lean.Annotations) != 1 || lean.Spec.PodCIDRs[0] != "10.42.3.0/24" || lean.UID != node.UID {
		t.Errorf("%+v", lean)
	}
}
