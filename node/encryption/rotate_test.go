package encryption

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"

	"airgap/node/config"
	"airgap/node/datastore"
)

// apiServer does with secrets what the API server does, by its own library: it encrypts and decrypts by
// the file that it loaded last, and notices a change only when it looks, every other time it is asked.
type apiServer struct {
	t           *testing.T
	file        string
	store       *clientv3.Client
	hash        string
	transformer value.Transformer
	asked       int
}

func (a *apiServer) load() {
	a.t.Helper()
	loaded, err := encryptionconfig.LoadEncryptionConfig(a.t.Context(), a.file, true, "test")
	if err != nil {
		a.t.Fatal(err)
	}
	a.transformer, a.hash = loaded.Transformers[schema.GroupResource{Resource: "secrets"}], loaded.EncryptionFileContentHash
}

func (a *apiServer) Hashes(context.Context) ([]string, error) {
	if a.asked++; a.asked%2 == 0 {
		a.load()
	}
	return []string{a.hash}, nil
}

func (a *apiServer) Rewrite(ctx context.Context) error {
	for name, text := range a.secrets() {
		a.put(ctx, name, text)
	}
	return nil
}

func (a *apiServer) put(ctx context.Context, name, text string) {
	a.t.Helper()
	at := secretsPrefix + name
	data, err := a.transformer.TransformToStorage(ctx, []byte("k8s\x00"+text), value.DefaultContext(at))
	if err != nil {
		a.t.Fatal(err)
	}
	got, err := a.store.Get(ctx, at)
	if err != nil {
		a.t.Fatal(err)
	}
	var revision int64
	if len(got.Kvs) > 0 {
		revision = got.Kvs[0].ModRevision
	}
	done, err := a.store.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(at), "=", revision)).
		Then(clientv3.OpPut(at, string(data))).Else(clientv3.OpGet(at)).Commit()
	if err != nil || !done.Succeeded {
		a.t.Fatalf("put %s: %v", name, err)
	}
}

// secrets reads them all, decrypted by the loaded file.
func (a *apiServer) secrets() map[string]string {
	a.t.Helper()
	ctx := a.t.Context()
	got, err := a.store.Get(ctx, secretsPrefix, clientv3.WithRange(clientv3.GetPrefixRangeEnd(secretsPrefix)))
	if err != nil {
		a.t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range got.Kvs {
		data, _, err := a.transformer.TransformFromStorage(ctx, kv.Value, value.DefaultContext(kv.Key))
		if err != nil {
			a.t.Fatalf("%s cannot be read: %v", kv.Key, err)
		}
		all[strings.TrimPrefix(string(kv.Key), secretsPrefix)] = strings.TrimPrefix(string(data), "k8s\x00")
	}
	return all
}

const secretCount = 7

// newCluster is a datastore with secrets, written by an API server that has loaded the file.
func newCluster(t *testing.T) (*Rotator, *apiServer) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	d, err := datastore.Start(ctx, datastore.Options{
		Store: config.Datastore{Kind: config.SQLite}, Dir: filepath.Join(dir, "db"), Socket: filepath.Join(dir, "k.sock"),
	})
	if err != nil {
		t.Fatal(err)
	}
	store, err := clientv3.New(clientv3.Config{Endpoints: d.Endpoints, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close(); cancel(); d.Wait() })
	server := &apiServer{t: t, file: filepath.Join(dir, "encryption.yaml"), store: store}
	if err := Ensure(server.file, true); err != nil {
		t.Fatal(err)
	}
	server.load()
	for i := range secretCount {
		server.put(t.Context(), fmt.Sprintf("default/s%d", i), fmt.Sprintf("word %d", i))
	}
	r := &Rotator{File: server.file, Server: server, Store: store, Report: t.Logf, Poll: time.Millisecond}
	return r, server
}

func (a *apiServer) check(when string) {
	a.t.Helper()
	all := a.secrets()
	for i := range secretCount {
		if got := all[fmt.Sprintf("default/s%d", i)]; got != fmt.Sprintf("word %d", i) {
			a.t.Fatalf("%s: secret %d is %q", when, i, got)
		}
	}
}

func mustStatus(t *testing.T, r *Rotator) *Status {
	t.Helper()
	s, err := ReadStatus(t.Context(), r.File, r.Server, r.Store)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRotate(t *testing.T) {
	r, server := newCluster(t)
	before := mustStatus(t, r)
	if !before.Complete() || before.Secrets.Total != secretCount || before.Secrets.Current != secretCount || !before.Enabled {
		t.Fatalf("before: %+v", before)
	}
	if err := r.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := mustStatus(t, r)
	if !after.Complete() || len(after.Keys) != 1 || after.Keys[0].Hash == before.Keys[0].Hash || after.Keys[0].Name != "key2" {
		t.Errorf("after: %+v", after)
	}
	server.check("after a rotation")
}

// Secrets are counted page by page.
func TestStatusCountsEverySecret(t *testing.T) {
	r, server := newCluster(t)
	const more = 2*pageSize + 50
	for i := range more {
		server.put(t.Context(), fmt.Sprintf("many/s%04d", i), "word")
	}
	if s := mustStatus(t, r); s.Secrets.Total != secretCount+more || !s.Complete() {
		t.Errorf("%d secrets are %+v", secretCount+more, s.Secrets)
	}
}

var errCut = errors.New("power cut")

// Whatever the last change before a power cut, every secret can be read by an API server that loads the file as it
// is and by one that had loaded the one before, and another run comes to the end.
func TestPowerCutAtEachStep(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(*Rotator) error
	}{
		{"rotate", func(r *Rotator) error { return r.Rotate(t.Context()) }},
		{"disable", func(r *Rotator) error { return r.Enable(t.Context(), false) }},
	} {
		for cut := 1; ; cut++ {
			r, server := newCluster(t)
			n := 0
			r.step = func(string) error {
				if n++; n == cut {
					return errCut
				}
				return nil
			}
			err := test.run(r)
			if err == nil {
				if cut < 3 {
					t.Errorf("%s has %d steps only: this test is not where the steps are", test.name, cut-1)
				}
				break // cut after the last step
			}
			if !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			server.check(fmt.Sprintf("%s, cut at %d, the file before", test.name, cut))
			server.load()
			server.check(fmt.Sprintf("%s, cut at %d, the file as it is", test.name, cut))
			server.put(t.Context(), "default/s0", "word 0") // life goes on
			r.step = nil
			if err := test.run(r); err != nil {
				t.Fatalf("%s, cut at %d: the second run: %v", test.name, cut, err)
			}
			if s := mustStatus(t, r); !s.Complete() {
				t.Errorf("%s, cut at %d: after the second run: %+v", test.name, cut, s)
			}
			server.check("after the second run")
		}
	}
}

func TestDisableAndEnable(t *testing.T) {
	r, server := newCluster(t)
	if err := r.Enable(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if s := mustStatus(t, r); s.Enabled || !s.Complete() || s.Secrets.Current != secretCount {
		t.Errorf("disabled: %+v", s)
	}
	if err := r.Rotate(t.Context()); err == nil {
		t.Error("keys were rotated that nothing is encrypted with")
	}
	server.check("disabled")
	if err := r.Enable(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if s := mustStatus(t, r); !s.Enabled || !s.Complete() || s.Secrets.Current != secretCount {
		t.Errorf("enabled: %+v", s)
	}
	server.check("enabled")
}

func TestForeignFileIsLeftAlone(t *testing.T) {
	for name, text := range map[string]string{
		"aescbc":        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aescbc: {keys: []}\n  - identity: {}\n",
		"configmaps":    "resources:\n- resources: [secrets, configmaps]\n  providers: [{identity: {}}]\n",
		"short key":     "resources:\n- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: key1, secret: YQ==}]}}, {identity: {}}]\n",
		"identity only": "resources:\n- resources: [secrets]\n  providers: [{identity: {}}, {identity: {}}]\n",
		"garbage":       "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "encryption.yaml")
			writeFile(t, file, text)
			if _, err := read(file); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v", err)
			}
		})
	}
}
