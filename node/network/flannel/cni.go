package flannel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// confFile is the name of the CNI configuration list; containerd uses the first in its folder.
const confFile = "10-flannel.conflist"

type object = map[string]any

// networkList is the CNI configuration list: the user's, or the packaged one, which attaches pods to the bridge and
// opens their host ports. In the user's, a plugin of type "flannel" stands for that bridge, with what its
// "delegate" says changed: Flannel's own plugin, which would write the same, is not carried.
func (o Options) networkList(pods []netip.Prefix, mtu int) ([]byte, error) {
	list := object{
		"cniVersion": "1.0.0",
		"name":       o.Name,
		"plugins": []any{
			object{"type": "flannel"},
			object{"type": "portmap", "backend": "nftables", "capabilities": object{"portMappings": true}},
		},
	}
	if o.CNIConf != "" {
		data, err := os.ReadFile(o.CNIConf)
		if err != nil {
			return nil, fmt.Errorf("flannel-cni-conf: %w", err)
		}
		list = object{}
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, fmt.Errorf("flannel-cni-conf %s: %w", o.CNIConf, err)
		}
		list["name"] = o.Name // by which an uninstall finds what CNI has cached
	}
	plugins, ok := list["plugins"].([]any)
	if !ok || len(plugins) == 0 {
		return nil, fmt.Errorf("flannel-cni-conf %s: it has no list of plugins", o.CNIConf)
	}
	for i, entry := range plugins {
		plugin, ok := entry.(object)
		if !ok {
			return nil, fmt.Errorf("flannel-cni-conf %s: plugin %d is no object", o.CNIConf, i+1)
		}
		if plugin["type"] != "flannel" {
			continue
		}
		bridge := o.bridge(pods, mtu)
		if delegate, ok := plugin["delegate"].(object); ok {
			maps.Copy(bridge, delegate)
		}
		plugins[i] = bridge
	}
	for _, plugin := range o.Chained {
		plugins = append(plugins, plugin)
	}
	list["plugins"] = plugins
	text, err := json.MarshalIndent(list, "", "  ")
	return append(text, '\n'), err
}

// bridge is the plugin that attaches a pod. Address translation is not its business: the rules for all pods
// are made once, rather than some for each pod.
func (o Options) bridge(pods []netip.Prefix, mtu int) object {
	var ranges [][]object
	var routes []object
	for _, p := range pods {
		ranges = append(ranges, []object{{"subnet": p.String()}})
		everywhere := "0.0.0.0/0"
		if p.Addr().Is6() {
			everywhere = "::/0"
		}
		routes = append(routes, object{"dst": everywhere})
	}
	return object{
		"type": "bridge", "bridge": config.PodBridge, "mtu": mtu,
		"isGateway": true, "hairpinMode": true, "forceAddress": true,
		"ipam": object{"type": "host-local", "dataDir": o.StateDir, "ranges": ranges, "routes": routes},
	}
}

// writeNetworkList puts the list where containerd looks for it, unless it is there.
func (o Options) writeNetworkList(list []byte) error {
	file := filepath.Join(o.ConfDir, confFile)
	current, err := os.ReadFile(file)
	if err == nil && bytes.Equal(current, list) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(o.ConfDir, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(file, list, 0o600)
}
