package agent

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/knftables"

	"airgap/node/config"
	"airgap/node/network/policy"
	"airgap/node/network/policy/admission"
)

// policyPlugin is the last part of the CNI configuration list; none if policies are not enforced.
func (a *agent) policyPlugin() []map[string]any {
	if a.config.DisableNetworkPolicy {
		return nil
	}
	return []map[string]any{{"type": "airgap-policy", "socket": a.paths.PolicySocket()}}
}

// runPolicy enforces NetworkPolicies until ctx is done or it cannot. If it shall not, it
// removes what an earlier agent left.
func (a *agent) runPolicy(ctx context.Context) error {
	tables, err := knftables.New(knftables.InetFamily, config.PolicyTable)
	if err != nil {
		return err
	}
	if a.config.DisableNetworkPolicy {
		if err := policy.Remove(ctx, tables); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	client, err := clientcmd.BuildConfigFromFlags("", filepath.Join(a.paths.AgentPKI(), "network-policy.kubeconfig"))
	if err != nil {
		return err
	}
	client.ContentType = "application/vnd.kubernetes.protobuf"
	client.AcceptContentTypes = client.ContentType + ",application/json"
	api, err := kubernetes.NewForConfig(client)
	if err != nil {
		return err
	}
	options := policy.Options{
		Node: a.config.NodeName, Bridge: config.PodBridge, Table: config.PolicyTable, Tables: tables, StateDir: a.paths.PolicyState(),
	}
	for text := range strings.SplitSeq(a.config.ClusterCIDR, ",") {
		pods, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("cluster-cidr: %w", err)
		}
		options.Networks = append(options.Networks, pods)
	}
	controller := policy.New(api, options)
	failed := make(chan error, 2)
	go func() { failed <- admission.Serve(ctx, a.paths.PolicySocket(), controller) }()
	go func() { failed <- controller.Run(ctx) }()
	return <-failed
}
