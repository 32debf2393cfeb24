// Command airgap-policy is the last CNI plugin of a node's pod network. It changes nothing itself: it tells the
// node's agent of the pod and the addresses that the plugins before it gave it, and returns when the
// agent has the pod's network policies in the kernel, so that no packet of the pod, nor any to it, goes
// by without them. The container runtime runs it as the CNI specification says.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"airgap/node/network/policy/admission"
)

// configuration is the plugin's part of the CNI configuration list.
type configuration struct {
	types.PluginConf
	Socket string `json:"socket"` // where the agent answers
}

// podArguments are what the container runtime says of the pod, in CNI_ARGS.
type podArguments struct {
	types.CommonArgs
	K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID types.UnmarshallableString
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check, GC: pass, Status: pass},
		version.All, "airgap-policy: puts a pod's network policies in place before its first packet")
}

func parse(args *skel.CmdArgs) (*configuration, *current.Result, error) {
	c := &configuration{}
	if err := json.Unmarshal(args.StdinData, c); err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	if c.Socket == "" {
		return nil, nil, errors.New("configuration: socket is missing")
	}
	if err := version.ParsePrevResult(&c.PluginConf); err != nil {
		return nil, nil, err
	}
	if c.PrevResult == nil {
		return c, nil, nil
	}
	result, err := current.NewResultFromResult(c.PrevResult)
	return c, result, err
}

func add(args *skel.CmdArgs) error {
	c, result, err := parse(args)
	if err != nil {
		return err
	}
	if result == nil {
		return errors.New("no result of an earlier plugin: this one must come last in the list")
	}
	var pod podArguments
	if err := types.LoadArgs(args.Args, &pod); err != nil {
		return fmt.Errorf("CNI_ARGS: %w", err)
	}
	if pod.K8S_POD_NAME != "" {
		sandbox := admission.Sandbox{
			ID: args.ContainerID, Namespace: string(pod.K8S_POD_NAMESPACE), Name: string(pod.K8S_POD_NAME), UID: string(pod.K8S_POD_UID),
		}
		for _, ip := range result.IPs {
			if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
				sandbox.Addresses = append(sandbox.Addresses, a.Unmap())
			}
		}
		if err := admission.Admit(c.Socket, sandbox); err != nil {
			return fmt.Errorf("network policies of pod %s/%s: %w", sandbox.Namespace, sandbox.Name, err)
		}
	}
	return types.PrintResult(c.PrevResult, c.CNIVersion)
}

// del never fails: a pod must be removable without an agent, and the agent learns of it from the API too.
func del(args *skel.CmdArgs) error {
	c := &configuration{}
	if err := json.Unmarshal(args.StdinData, c); err == nil && c.Socket != "" {
		_ = admission.Forget(c.Socket, args.ContainerID)
	}
	return nil
}

func check(*skel.CmdArgs) error { return nil }

func pass(*skel.CmdArgs) error { return nil }
