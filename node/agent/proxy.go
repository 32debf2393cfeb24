package agent

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
)

// runProxy runs kube-proxy, in nftables mode, until ctx is done or it fails.
func (a *agent) runProxy(ctx context.Context) error {
	options := proxy.NewOptions()
	flags := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	options.AddFlags(flags)
	args := []string{
		"--kubeconfig=" + a.proxy,
		"--hostname-override=" + a.config.NodeName,
		"--proxy-mode=nftables",
		"--cluster-cidr=" + a.config.ClusterCIDR,
		"--healthz-bind-address=127.0.0.1:" + strconv.Itoa(a.config.ProxyHealthPort),
		"--metrics-bind-address=127.0.0.1:" + strconv.Itoa(a.config.ProxyMetricsPort),
		// The table's size is the host's business; setting it fails where /proc/sys is read-only.
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0",
		"--conntrack-tcp-timeout-close-wait=0",
	}
	if a.limits.noResource {
		args = append(args, "--oom-score-adj=0")
	}
	for _, arg := range a.config.KubeProxyArgs {
		args = append(args, "--"+arg)
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("kube-proxy-arg: %w", err)
	}
	if err := options.Complete(flags); err != nil {
		return err
	}
	if err := options.Validate(); err != nil {
		return err
	}
	return options.Run(ctx)
}
