package nodehosts

import (
	"context"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func node(name string, addresses ...corev1.NodeAddress) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Addresses: addresses}}
}

func internal(address string) corev1.NodeAddress {
	return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address}
}

func TestHosts(t *testing.T) {
	got := hostsOf([]*corev1.Node{
		node("ship-2", internal("10.0.0.2"), corev1.NodeAddress{Type: corev1.NodeHostName, Address: "bridge"}),
		node("ship-1", internal("10.0.0.1"), internal("fd00::1"), corev1.NodeAddress{Type: corev1.NodeHostName, Address: "ship-1"},
			corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.1"}),
		node("new"),
	})
	if want := "10.0.0.1 ship-1\n10.0.0.2 ship-2 bridge\nfd00::1 ship-1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestRun(t *testing.T) {
	ctx := context.Background()
	client := fake.NewClientset(node("a", internal("10.0.0.1")))
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- Run(running, client, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	wait := func(want string) {
		t.Helper()
		var data map[string]string
		for range 200 {
			if m, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, configMap, metav1.GetOptions{}); err == nil {
				if data = m.Data; data[key] == want {
					if data["Corefile"] != "kept" {
						t.Errorf("the Corefile is gone: %v", data)
					}
					return
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("got %q, want %q", data[key], want)
	}

	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: configMap}, Data: map[string]string{"Corefile": "kept"}}
	if _, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wait("10.0.0.1 a\n")
	if _, err := client.CoreV1().Nodes().Create(ctx, node("b", internal("10.0.0.2")), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wait("10.0.0.1 a\n10.0.0.2 b\n")
	if _, err := client.CoreV1().ConfigMaps(namespace).Update(ctx, m, metav1.UpdateOptions{}); err != nil { // without the key
		t.Fatal(err)
	}
	wait("10.0.0.1 a\n10.0.0.2 b\n")
	if err := client.CoreV1().Nodes().Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wait("10.0.0.2 b\n")
}
