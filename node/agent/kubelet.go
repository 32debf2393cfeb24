package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	kubeletoptions "k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

const (
	// streamingIdleTimeout ends an exec, attach or port-forward over which nothing passes.
	streamingIdleTimeout = time.Hour
	// podProcesses bounds the processes and threads of one pod: a fork bomb ends there, not
	// at the node's own limit.
	podProcesses = 4096
)

// kubeletConfiguration is the kubelet's own configuration file for this node.
func (a *agent) kubeletConfiguration() *kubeletv1beta1.KubeletConfiguration {
	socket := "unix://" + a.paths.ContainerdSocket()
	c := &kubeletv1beta1.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"},

		ContainerRuntimeEndpoint: socket,
		ImageServiceEndpoint:     socket,
		StaticPodPath:            a.paths.PodManifests(),
		PodLogsDir:               a.paths.PodLogs(),
		VolumePluginDir:          filepath.Join(a.paths.Kubelet(), "volumeplugins"),

		Port:               int32(a.config.KubeletPort),
		ReadOnlyPort:       0,
		HealthzBindAddress: "127.0.0.1",
		HealthzPort:        ptr.To(int32(a.config.KubeletHealthPort)),

		ClusterDomain:  a.config.ClusterDomain,
		ClusterDNS:     strings.Split(a.config.ClusterDNS, ","),
		ResolverConfig: ptr.To(a.config.ResolvConf),

		Authentication: kubeletv1beta1.KubeletAuthentication{
			X509:      kubeletv1beta1.KubeletX509Authentication{ClientCAFile: filepath.Join(a.paths.AgentPKI(), "ca.crt")},
			Anonymous: kubeletv1beta1.KubeletAnonymousAuthentication{Enabled: ptr.To(false)},
			Webhook:   kubeletv1beta1.KubeletWebhookAuthentication{Enabled: ptr.To(true)},
		},
		Authorization:      kubeletv1beta1.KubeletAuthorization{Mode: kubeletv1beta1.KubeletAuthorizationModeWebhook},
		TLSCertFile:        filepath.Join(a.paths.AgentPKI(), "kubelet.crt"),
		TLSPrivateKeyFile:  filepath.Join(a.paths.AgentPKI(), "kubelet.key"),
		TLSMinVersion:      "VersionTLS12",
		TLSCipherSuites:    config.CipherSuites,
		RotateCertificates: true,

		ProtectKernelDefaults:          a.config.ProtectKernelDefaults,
		StreamingConnectionIdleTimeout: metav1.Duration{Duration: streamingIdleTimeout},
		PodPidsLimit:                   ptr.To(int64(podProcesses)),

		CgroupDriver: "cgroupfs",
		CgroupRoot:   a.paths.CgroupRoot(),
		FailSwapOn:   ptr.To(false),
		FailCgroupV1: ptr.To(!a.limits.cgroupV1),
		// kube-proxy works in nftables: nothing here needs the chains, and nobody would remove them.
		MakeIPTablesUtilChains: ptr.To(false),
		SeccompDefault:         ptr.To(true),

		EnableDebuggingHandlers:   ptr.To(true), // logs, exec, port-forward; behind authentication
		EnableProfilingHandler:    ptr.To(false),
		SerializeImagePulls:       ptr.To(false),
		ContainerLogMaxSize:       "10Mi",
		ContainerLogMaxFiles:      ptr.To(int32(3)),
		NodeStatusReportFrequency: metav1.Duration{Duration: 5 * time.Minute},
		ShutdownGracePeriod:       metav1.Duration{},
		// Kubernetes' own thresholds, 10 % and 15 % of the disk, evict pods from large disks with tens of
		// gigabytes free. What a node must keep free, for its datastore and logs, does not grow with the disk.
		EvictionHard: map[string]string{
			"memory.available":   "100Mi",
			"nodefs.available":   "512Mi",
			"nodefs.inodesFree":  "2%",
			"imagefs.available":  "512Mi",
			"imagefs.inodesFree": "2%",
		},
		// Images cannot be pulled again: they are pinned, and the disk is for pods to fill.
		ImageGCHighThresholdPercent: ptr.To(int32(100)),
		ImageGCLowThresholdPercent:  ptr.To(int32(99)),
	}
	if a.config.Has(config.ProfileEdge) {
		// The lease, every 10 s, says that the node lives; what it looks like may come later.
		c.NodeStatusUpdateFrequency = metav1.Duration{Duration: 30 * time.Second}
		c.VolumeStatsAggPeriod = metav1.Duration{Duration: 5 * time.Minute}
		c.FileCheckFrequency = metav1.Duration{Duration: time.Minute}
		c.HTTPCheckFrequency = metav1.Duration{Duration: time.Minute}
	}
	if a.limits.noResource {
		c.OOMScoreAdj = ptr.To(int32(0))
	}
	if a.config.Debug {
		c.Logging.Verbosity = config.DebugVerbosity
	}
	return c
}

// loadKubeletConfiguration writes the configuration file and reads it back with the
// kubelet's own defaults, as the kubelet's command does.
func (a *agent) loadKubeletConfiguration(ctx context.Context) (*kubeletconfig.KubeletConfiguration, error) {
	data, err := yaml.Marshal(a.kubeletConfiguration())
	if err != nil {
		return nil, err
	}
	file := filepath.Join(a.paths.AgentEtc(), "kubelet.yaml")
	if err := atomicfile.Write(file, data, 0o600); err != nil {
		return nil, err
	}
	loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, file)
	if err != nil {
		return nil, err
	}
	c, err := loader.Load(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// runKubelet runs the kubelet until ctx is done or it fails.
func (a *agent) runKubelet(ctx context.Context) error {
	c, err := a.loadKubeletConfiguration(ctx)
	if err != nil {
		return err
	}
	flags := kubeletoptions.NewKubeletFlags()
	set := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	set.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	flags.AddFlags(set)
	kubeletoptions.AddKubeletConfigFlags(set, c)
	args := []string{
		"--kubeconfig=" + a.kubelet,
		"--cert-dir=" + a.paths.AgentPKI(),
		"--root-dir=" + a.paths.Kubelet(),
		"--hostname-override=" + a.config.NodeName,
		"--node-ip=" + a.config.NodeIP,
	}
	if len(a.config.NodeLabels) > 0 {
		args = append(args, "--node-labels="+strings.Join(a.config.NodeLabels, ","))
	}
	if len(a.config.NodeTaints) > 0 {
		args = append(args, "--register-with-taints="+strings.Join(a.config.NodeTaints, ","))
	}
	for _, arg := range a.config.KubeletArgs {
		args = append(args, "--"+arg)
	}
	if err := set.Parse(args); err != nil {
		return fmt.Errorf("kubelet-arg: %w", err)
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(c.FeatureGates); err != nil {
		return err
	}
	if err := kubeletoptions.ValidateKubeletFlags(flags); err != nil {
		return err
	}
	if err := validation.ValidateKubeletConfiguration(c, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(&c.Logging, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	server := &kubeletoptions.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *c}
	deps, err := kubelet.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
	if err != nil {
		return err
	}
	return kubelet.Run(ctx, server, deps, utilfeature.DefaultFeatureGate)
}
