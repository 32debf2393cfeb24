package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/flagz"
	reload "k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/client-go/tools/cache"
	cliflag "k8s.io/component-base/cli/flag"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllersoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"airgap/node/config"
	"airgap/node/datastore"
	"airgap/node/encryption"
	"airgap/node/pki"
	"airgap/node/policy"
)

// requestsPerCPU are the reading requests that the API server works on at a time, for each processor.
const requestsPerCPU = 50

// components are upstream's, with their flags parsed and nothing started.
type components struct {
	apiserver   *apiserveroptions.ServerRunOptions
	scheduler   *scheduleroptions.Options
	controllers *controllersoptions.KubeControllerManagerOptions
	edge        bool
}

// newComponents parses the flags of all three before any of them is completed: the
// feature gates are global, and are set once, here.
func newComponents(cfg *config.Server, store *datastore.Datastore) (*components, error) {
	c := &components{
		apiserver: apiserveroptions.NewServerRunOptions(), scheduler: scheduleroptions.NewOptions(),
		edge: cfg.Has(config.ProfileEdge),
	}
	var err error
	if c.controllers, err = controllersoptions.NewKubeControllerManagerOptions(); err != nil {
		return nil, err
	}
	paths := config.PathsOf(cfg.DataDir)
	controllerFlags := c.controllers.Flags(controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases())
	c.controllers.ParsedFlags = &controllerFlags
	shown := flagReader{}
	c.apiserver.Flagz = shown
	for _, component := range []struct {
		name  string
		flags cliflag.NamedFlagSets
		args  []string
		extra []string
	}{
		{"kube-apiserver", c.apiserver.Flags(), apiServerArgs(cfg, paths, store), cfg.APIServerArgs},
		{"kube-scheduler", *c.scheduler.Flags, schedulerArgs(paths), cfg.SchedulerArgs},
		{"kube-controller-manager", controllerFlags, controllerArgs(cfg, paths), cfg.ControllerManagerArgs},
	} {
		if err := parse(component.name, component.flags, component.args, component.extra); err != nil {
			return nil, err
		}
		shown[component.name] = flagz.NamedFlagSetsReader{FlagSets: component.flags}
	}
	if err := c.apiserver.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	return c, nil
}

// flagReader is what the API server shows at /flagz: its own flags, and those of the components that have no
// port, as <component>.<flag>.
type flagReader map[string]flagz.Reader

// GetFlagz implements flagz.Reader.
func (r flagReader) GetFlagz() map[string]string {
	all := map[string]string{}
	for component, reader := range r {
		for name, value := range reader.GetFlagz() {
			if component != "kube-apiserver" {
				name = component + "." + name
			}
			all[name] = value
		}
	}
	return all
}

func parse(name string, named cliflag.NamedFlagSets, args, extra []string) error {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	for _, arg := range extra {
		args = append(args, "--"+arg)
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%s-arg: %w", name, err)
	}
	return nil
}

// outageSeconds is for how long a node may be out of reach, beside the minute until that is noticed, before its pods are made anew on other nodes:
// upstream's five minutes would move them whenever somebody works at a switch. See decision 29.
const outageSeconds = "900"

func apiServerArgs(cfg *config.Server, paths config.Paths, store *datastore.Datastore) []string {
	tls := func(name string) string { return filepath.Join(paths.TLS(), name) }
	args := []string{
		"--advertise-address=" + cfg.AdvertiseAddress,
		"--secure-port=" + strconv.Itoa(cfg.HTTPSListenPort),
		"--etcd-servers=" + strings.Join(store.Endpoints, ","),
		"--etcd-cafile=" + store.CAFile,
		"--etcd-certfile=" + store.CertFile,
		"--etcd-keyfile=" + store.KeyFile,
		"--client-ca-file=" + tls(pki.ClusterCABundle+".crt"),
		"--tls-cert-file=" + tls(pki.APIServer+".crt"),
		"--tls-private-key-file=" + tls(pki.APIServer+".key"),
		"--tls-min-version=VersionTLS12",
		"--tls-cipher-suites=" + strings.Join(config.CipherSuites, ","),
		"--kubelet-certificate-authority=" + tls(pki.ClusterCABundle+".crt"),
		"--kubelet-client-certificate=" + tls(pki.KubeletClient+".crt"),
		"--kubelet-client-key=" + tls(pki.KubeletClient+".key"),
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--service-account-key-file=" + tls(pki.ServiceAccount+".pub"),
		"--service-account-signing-key-file=" + tls(pki.ServiceAccount+".key"),
		"--service-account-issuer=https://kubernetes.default.svc." + cfg.ClusterDomain,
		"--requestheader-client-ca-file=" + tls(pki.FrontProxyCABundle+".crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + tls(pki.FrontProxyClient+".crt"),
		"--proxy-client-key-file=" + tls(pki.FrontProxyClient+".key"),
		"--authorization-mode=Node,RBAC",
		"--anonymous-auth=false",
		"--profiling=false",
		"--allow-privileged=true",
		// Otherwise watches that nobody ends hold up a stop for a minute; so they do for two seconds.
		"--shutdown-send-retry-after=true",
		"--encryption-provider-config=" + encryption.File(paths),
		"--encryption-provider-config-automatic-reload=true",
		"--enable-bootstrap-token-auth=true",
		"--service-cluster-ip-range=" + cfg.ServiceCIDR,
		"--service-node-port-range=" + cfg.NodePorts,
		"--default-not-ready-toleration-seconds=" + outageSeconds,
		"--default-unreachable-toleration-seconds=" + outageSeconds,
	}
	args = append(args, inflightArgs()...)
	if cfg.BindAddress != "" {
		args = append(args, "--bind-address="+cfg.BindAddress)
	}
	args = append(args, policy.Args(cfg)...)
	if cfg.Has(config.ProfileEdge) {
		args = append(args, edgeAPIServerArgs()...)
	}
	return args
}

// inflightArgs say how many requests the API server works on at a time. Upstream's 400 and 200, whatever the machine, let
// one account's flood fill a small one: fairness decides who is let in, and all who are in share its processor
// and the datastore's one writer. A kubelet then waits for longer than it has to renew its lease.
func inflightArgs() []string {
	reading := min(requestsPerCPU*runtime.NumCPU(), 400)
	return []string{
		"--max-requests-inflight=" + strconv.Itoa(reading),
		"--max-mutating-requests-inflight=" + strconv.Itoa(reading/2),
	}
}

func schedulerArgs(paths config.Paths) []string {
	return []string{
		"--kubeconfig=" + pki.SchedulerConfig(paths),
		"--secure-port=0",
		"--leader-elect=false",
		"--profiling=false",
	}
}

func controllerArgs(cfg *config.Server, paths config.Paths) []string {
	tls := func(name string) string { return filepath.Join(paths.TLS(), name) }
	args := []string{
		"--kubeconfig=" + pki.ControllerManagerConfig(paths),
		"--secure-port=0",
		"--leader-elect=false",
		"--profiling=false",
		"--use-service-account-credentials=true",
		// Every controller makes its own account at the first start; at the default
		// 20 requests a second that alone takes five seconds.
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--service-account-private-key-file=" + tls(pki.ServiceAccount+".key"),
		"--root-ca-file=" + tls(pki.ClusterCABundle+".crt"),
		"--cluster-signing-cert-file=" + tls(pki.ClusterCA+".crt"),
		"--cluster-signing-key-file=" + tls(pki.ClusterCA+".key"),
		"--allocate-node-cidrs=true",
		// Kubernetes keeps 12,500 finished pods, which would fill a small node's datastore.
		"--terminated-pod-gc-threshold=1000",
		"--cluster-cidr=" + cfg.ClusterCIDR,
		"--service-cluster-ip-range=" + cfg.ServiceCIDR,
		"--controllers=*,bootstrapsigner,tokencleaner",
	}
	if cfg.Has(config.ProfileEdge) {
		args = append(args, edgeControllerArgs()...)
	}
	return append(args, nodeMasks(cfg)...)
}

// nodeMasks says how large a part of the pods' network each node gets. With one family the flag has no suffix.
func nodeMasks(cfg *config.Server) []string {
	networks, err := cfg.ClusterNetworks()
	if err != nil {
		return nil // Complete has refused it
	}
	var args []string
	for _, n := range networks {
		flag := "--node-cidr-mask-size"
		if len(networks) > 1 && n.Addr().Is4() {
			flag += "-ipv4"
		} else if len(networks) > 1 {
			flag += "-ipv6"
		}
		args = append(args, flag+"="+strconv.Itoa(config.NodeMaskSize(n)))
	}
	return args
}

// encryptionPoll is how often the API server looks whether its encryption configuration has changed: a
// rotation of keys waits for it three times.
const encryptionPoll = 3 * time.Second

// runAPIServer does what upstream's app.Run does, and puts front before the chain of handlers that the port has, whose first one
// asks who it is. Whoever front answers is known to nobody but front.
func (c *components) runAPIServer(ctx context.Context, front Front) error {
	reload.EncryptionConfigFileChangePollDuration = encryptionPoll
	options, err := c.apiserver.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := options.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	if options.InformerName, err = cache.NewInformerName("kube-apiserver"); err != nil {
		return err
	}
	cfg, err := apiserver.NewConfig(options)
	if err != nil {
		return err
	}
	// The aggregator is the first of the chained API servers, and the one whose handlers the port has.
	outer := cfg.Aggregator.GenericConfig
	upstream := outer.BuildHandlerChainFunc
	outer.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return front(upstream(api, c))
	}
	endStorage, err := shareStorage(ctx, cfg)
	if err != nil {
		return err
	}
	defer endStorage()
	documents := newOpenAPI(cfg, c.edge)
	completed, err := cfg.Complete()
	if err != nil {
		return err
	}
	chain, err := apiserver.CreateServerChain(completed)
	if err != nil {
		return err
	}
	if err := documents.follow(chain); err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	if err := documents.replace(chain); err != nil {
		return err
	}
	return prepared.Run(ctx)
}

func (c *components) runScheduler(ctx context.Context) error {
	name, err := cache.NewInformerName("kube-scheduler")
	if err != nil {
		return err
	}
	c.scheduler.InformerName = name
	completed, sched, err := scheduler.Setup(ctx, c.scheduler)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, completed, sched)
}

func (c *components) runControllers(ctx context.Context) error {
	cfg, err := c.controllers.Config(ctx, controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases())
	if err != nil {
		return err
	}
	return controllers.Run(ctx, cfg.Complete())
}
