//go:build !desk

package main

import (
	"bytes"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"airgap/internal/site"
)

func TestPrintJoin(t *testing.T) {
	port := int32(7443)
	client := fake.NewClientset(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Namespace: "default"},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"fd00::1"}}}, Ports: []discoveryv1.EndpointPort{{Port: &port}},
	})
	token := site.Token{CAHash: site.HashCA([]byte("authorities")), User: "abcdef", Secret: "0123456789abcdef"}
	var out bytes.Buffer
	e := &env{stdout: &out}
	if err := e.printToken(t.Context(), client, token, true); err != nil {
		t.Fatal(err)
	}
	if want := "airgap install --server https://[fd00::1]:7443 --token " + token.Text() + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	// A token that is made is not lost for the want of an address.
	out.Reset()
	err := e.printToken(t.Context(), fake.NewClientset(), token, true)
	if err == nil || !strings.Contains(err.Error(), "kubernetes") || out.String() != token.Text()+"\n" {
		t.Errorf("without an address: %v, %q", err, out.String())
	}
}
