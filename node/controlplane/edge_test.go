package controlplane

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/server/resourceconfig"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	upstream "k8s.io/kubernetes/pkg/controlplane"

	"airgap/node/config"
	"airgap/node/datastore"
)

// A name that upstream no longer knows would stop a server with this profile at its start, or leave
// nothing out.
func TestEdgeLeavesOutWhatThereIs(t *testing.T) {
	known := controllers.KnownControllers()
	for _, name := range edgeControllers {
		if !slices.Contains(known, name) {
			t.Errorf("there is no controller %q", name)
		}
	}
	overrides := map[string]string{}
	for _, setting := range edgeAPIs {
		api, value, _ := strings.Cut(setting, "=")
		overrides[api] = value
	}
	apis := upstream.DefaultAPIResourceConfigSource()
	if _, err := resourceconfig.MergeAPIResourceConfigs(apis, overrides, legacyscheme.Scheme); err != nil {
		t.Fatal(err)
	}
	for api := range overrides {
		group, rest, _ := strings.Cut(api, "/")
		version, resource, _ := strings.Cut(rest, "/")
		for gvr, enabled := range apis.ResourceConfigs {
			if gvr.Group == group && gvr.Version == version && gvr.Resource == resource && enabled {
				t.Errorf("%s is still served", api)
			}
		}
		for gv, enabled := range apis.GroupVersionConfigs {
			if resource == "" && gv.Group == group && gv.Version == version && enabled {
				t.Errorf("%s is still served", api)
			}
		}
	}
}

func TestEdgeFlagsAreUnderstood(t *testing.T) {
	cfg := config.NewServer()
	cfg.DataDir = t.TempDir()
	cfg.NodeIP, cfg.AdvertiseAddress = "10.0.0.1", "10.0.0.1"
	cfg.Profiles = []string{config.ProfileEdge}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	parts, err := newComponents(cfg, &datastore.Datastore{Endpoints: []string{"unix:///nowhere"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := parts.controllers.Validate(controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases()); err != nil {
		t.Error(err)
	}
	for _, feature := range edgeFeatures {
		name, _, _ := strings.Cut(feature, "=")
		if utilfeature.DefaultFeatureGate.Enabled(featuregate.Feature(name)) {
			t.Errorf("feature %s is on", name)
		}
	}
	if got := parts.controllers.DeploymentController.ConcurrentDeploymentSyncs; got != 2 {
		t.Errorf("%d workers for Deployments", got)
	}
}
