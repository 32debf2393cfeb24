package controlplane

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericfeatures "k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagefeature "k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// As upstream's factory has them (k8s.io/apiserver/pkg/storage/storagebackend/factory/etcd3.go).
const (
	datastoreKeepalive        = 30 * time.Second
	datastoreKeepaliveTimeout = 10 * time.Second
	datastoreDialTimeout      = 20 * time.Second
)

// sharedStorage is what all kinds of the API server share to reach the datastore: one connection for requests and
// one for watches, so that a long list delays no event. Upstream's factory gives each kind a connection of its own:
// some ninety, each with a dozen goroutines and its buffers, and as many again on kine's side in the same
// process. See docs/decisions/0036.
type sharedStorage struct {
	transport storagebackend.TransportConfig
	uncached  map[schema.GroupResource]bool
	allCached bool
	compactor etcd3.Compactor // nil: nobody compacts

	ctx      context.Context
	requests *clientv3.Client
	watches  *clientv3.Client
}

// shareStorage has all kinds of cfg share one storage, and returns what ends its connections. Where etcd is traced, or
// reached through a proxy, upstream's way stays.
func shareStorage(ctx context.Context, cfg *kubeapiserver.Config) (end func(), err error) {
	etcd := cfg.Options.Etcd
	if cfg.Options.Traces.ConfigFile != "" || etcd.StorageConfig.Transport.EgressLookup != nil {
		return func() {}, nil
	}
	// The last requests are answered after ctx is done.
	s := &sharedStorage{transport: etcd.StorageConfig.Transport, ctx: context.WithoutCancel(ctx), allCached: etcd.EnableWatchCache, uncached: map[schema.GroupResource]bool{}}
	sizes, err := options.ParseWatchCacheSizes(etcd.WatchCacheSizes)
	if err != nil {
		return nil, err
	}
	for resource, size := range sizes {
		s.uncached[resource] = size <= 0
	}
	if s.requests, err = s.connect(); err != nil {
		return nil, err
	}
	if s.watches, err = s.connect(); err != nil {
		s.requests.Close()
		return nil, err
	}
	stopCompactor := func() {}
	if etcd.StorageConfig.CompactionInterval > 0 {
		compactor := etcd3.StartCompactorPerEndpoint(s.requests, etcd.StorageConfig.CompactionInterval)
		s.compactor, stopCompactor = compactor, compactor.Stop
	}
	storagefeature.DefaultFeatureSupportChecker.CheckClient(s.ctx, s.requests, storage.RequestWatchProgress)

	for _, getter := range []*generic.RESTOptionsGetter{
		&cfg.KubeAPIs.ControlPlane.Generic.RESTOptionsGetter,
		&cfg.ApiExtensions.GenericConfig.RESTOptionsGetter,
		&cfg.ApiExtensions.ExtraConfig.CRDRESTOptionsGetter,
		&cfg.Aggregator.GenericConfig.RESTOptionsGetter,
	} {
		*getter = sharingGetter{*getter, s}
	}
	return func() {
		stopCompactor()
		s.watches.Close()
		s.requests.Close()
	}, nil
}

// connect returns a client with a connection of its own. It connects at the first request.
func (s *sharedStorage) connect() (*clientv3.Client, error) {
	config := clientv3.Config{
		Context: s.ctx, Endpoints: s.transport.ServerList, Logger: zap.NewNop(),
		DialTimeout: datastoreDialTimeout, DialKeepAliveTime: datastoreKeepalive, DialKeepAliveTimeout: datastoreKeepaliveTimeout,
	}
	files := transport.TLSInfo{CertFile: s.transport.CertFile, KeyFile: s.transport.KeyFile, TrustedCAFile: s.transport.TrustedCAFile}
	if files.CertFile != "" || files.KeyFile != "" || files.TrustedCAFile != "" {
		tls, err := files.ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("datastore: %w", err)
		}
		config.TLS = tls
	}
	return clientv3.New(config)
}

// client returns one for a kind. It has no connection: closing it ends its watches, and those alone.
func (s *sharedStorage) client() *kubernetes.Client {
	c := clientv3.NewCtxClient(s.ctx)
	c.KV = etcd3.NewETCDLatencyTracker(clientv3.NewKV(s.requests))
	c.Lease = clientv3.NewLease(s.requests)
	c.Watcher = clientv3.NewWatcher(s.watches)
	k := &kubernetes.Client{Client: c}
	k.Kubernetes = k
	return k
}

// sharingGetter changes where upstream's options of each kind store it, and nothing else.
type sharingGetter struct {
	generic.RESTOptionsGetter
	shared *sharedStorage
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (g sharingGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	o, err := g.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err != nil {
		return o, err
	}
	// --etcd-servers-overrides may send a kind elsewhere.
	if slices.Equal(o.StorageConfig.Transport.ServerList, g.shared.transport.ServerList) {
		o.Decorator = g.shared.decorate
	}
	return o, nil
}

// decorate is upstream's generic.StorageWithCacher, or UndecoratedStorage, on the shared connections.
func (s *sharedStorage) decorate(config *storagebackend.ConfigForResource, prefix string, key func(runtime.Object) (string, error),
	newObject, newList func() runtime.Object, attributes storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	client := s.client()
	transformer := config.Transformer
	if transformer == nil {
		transformer = identity.NewEncryptCheckTransformer()
	}
	versioner := storage.APIObjectVersioner{}
	decoder := etcd3.NewDefaultDecoder(config.Codec, versioner)
	deleteCorrupt := utilfeature.DefaultFeatureGate.Enabled(genericfeatures.AllowUnsafeMalformedObjectDeletion)
	if deleteCorrupt {
		transformer = etcd3.WithCorruptObjErrorHandlingTransformer(transformer)
		decoder = etcd3.WithCorruptObjErrorHandlingDecoder(decoder)
	}
	etcd, err := etcd3.New(client, s.compactor, config.Codec, newObject, newList, config.Prefix, prefix, config.GroupResource,
		transformer, config.LeaseManagerConfig, decoder, versioner)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	var store storage.Interface = etcd
	if deleteCorrupt {
		store = etcd3.NewStoreWithUnsafeCorruptObjectDeletion(store, config.GroupResource)
	}
	// Subresources share their kind's storage, and each destroys it.
	destroy := sync.OnceFunc(func() { etcd.Close(); client.Close() })
	if !s.allCached || s.uncached[config.GroupResource] {
		return store, destroy, nil
	}
	cached, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: store, Versioner: versioner, GroupResource: config.GroupResource, EventsHistoryWindow: config.EventsHistoryWindow,
		ResourcePrefix: prefix, KeyFunc: key, NewFunc: newObject, NewListFunc: newList, GetAttrsFunc: attributes,
		IndexerFuncs: triggers, Indexers: indexers, Codec: config.Codec,
	})
	if err != nil {
		destroy()
		return nil, nil, err
	}
	delegate := cacher.NewCacheDelegator(cached, store)
	return delegate, sync.OnceFunc(func() { delegate.Stop(); cached.Stop(); destroy() }), nil
}
