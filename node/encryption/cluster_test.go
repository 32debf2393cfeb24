package encryption

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"
)

type flags map[string]string

func (f flags) GetFlagz() map[string]string { return f }

// newAPI serves what the API server tells of itself, by its own library.
func newAPI(t *testing.T, shown flags) Cluster {
	t.Helper()
	mux := http.NewServeMux()
	flagz.Install(mux, "kube-apiserver", shown)
	mux.Handle("/metrics", legacyregistry.Handler())
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return Cluster{Client: client}
}

func TestHashesAreTheAPIServers(t *testing.T) {
	metrics.RegisterMetrics()
	cluster := newAPI(t, nil)
	if got, err := cluster.Hashes(t.Context()); err == nil {
		t.Errorf("an API server that has loaded nothing tells of %v", got)
	}
	want := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	metrics.RecordEncryptionConfigLastConfigInfo("one", want)
	if got, err := cluster.Hashes(t.Context()); err != nil || !slices.Equal(got, []string{want}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStoreIsTheAPIServers(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "kine.sock")
	store, err := newAPI(t, flags{"etcd-servers": "[" + socket + "]", "etcd-cafile": ""}).Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if !slices.Equal(store.Endpoints(), []string{socket}) {
		t.Errorf("the datastore is at %v", store.Endpoints())
	}
	if _, err := newAPI(t, flags{"etcd-servers": "[https://10.0.0.9:2379]", "etcd-cafile": "/nonexistent"}).Store(t.Context()); err == nil {
		t.Error("authorities that are not there are no error")
	}
	if _, err := newAPI(t, flags{}).Store(t.Context()); err == nil {
		t.Error("no datastore is no error")
	}
}
