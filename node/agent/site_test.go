package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

func TestAcceptedBundles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accepted.json")
	if got, err := acceptedBundles(file); err != nil || got != "" {
		t.Errorf("before an install: %q, %v", got, err)
	}
	text := `{"system":{"version":"0.1.0","digest":"sha256:aa","time":"2026-01-01T00:00:00Z"},"site-a":{"version":"1.4.0","digest":"sha256:bb"}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := acceptedBundles(file); err != nil || got != "site-a=1.4.0@sha256:bb,system=0.1.0@sha256:aa" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(file, []byte(`{"system":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := acceptedBundles(file); err == nil {
		t.Error("a damaged file goes unnoticed")
	}
}

func TestAddressesIn(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr.To("https"), Port: ptr.To(int32(6443))}, {Name: ptr.To("metrics"), Port: ptr.To(int32(1))}, {Name: ptr.To("https")},
		},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"fd00::1", "10.0.0.2"}}, {Addresses: []string{"10.0.0.1", "first"}},
			{Addresses: []string{"10.0.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
		},
	}
	if got, want := addressesIn(slice), []string{"10.0.0.1:6443", "10.0.0.2:6443", "[fd00::1]:6443"}; !slices.Equal(got, want) {
		t.Errorf("servers %v, want %v", got, want)
	}
}
