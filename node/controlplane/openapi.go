package controlplane

import (
	"context"
	"fmt"
	"net/http"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	client "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/validation/spec"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"

	"airgap/node/controlplane/apidocs"
)

// openAPI has two of the three servers of the chain serve their OpenAPI documents by apidocs: that of Kubernetes' own kinds and that of
// custom kinds. The third, the aggregator, has few of its own, and merges what the others serve. See docs/decisions/0050.
type openAPI struct {
	v2     *common.Config          // nil: version 2 is not served
	v3     *common.OpenAPIV3Config // one for all three servers
	core   apidocs.Documents
	custom apidocs.Documents
	kinds  apidocs.Kinds
}

// newOpenAPI takes version 2 from cfg before it is completed, so that the two servers do not build theirs at the start. With the
// profile edge nobody serves version 2, which holds all kinds at once: clients of the last years ask for version 3, kind by kind.
func newOpenAPI(cfg *kubeapiserver.Config, edge bool) *openAPI {
	core, custom, outer := cfg.KubeAPIs.ControlPlane.Generic, cfg.ApiExtensions.GenericConfig, cfg.Aggregator.GenericConfig
	o := &openAPI{v2: core.OpenAPIConfig, v3: core.OpenAPIV3Config}
	o.kinds.Documents = &o.custom
	// Without them the builder of the first document of each version gives the configuration functions that hold all it has.
	o.v2.GetOperationIDAndTagsFromRoute = operationOf
	o.v3.GetOperationIDAndTagsFromRoute = operationOf
	core.OpenAPIConfig, custom.OpenAPIConfig = nil, nil
	if edge {
		o.v2, outer.OpenAPIConfig = nil, nil
	}
	return o
}

// operationOf names the operation of a route, and gives its tags, as the configurations of both versions have it.
func operationOf(route common.Route) (string, []string, error) {
	adapted, ok := route.(*restfuladapter.RouteAdapter)
	if !ok {
		return "", nil, fmt.Errorf("OpenAPI: a route is a %T", route)
	}
	return openapi.GetOperationIDAndTags(adapted.Route)
}

// follow has the documents of custom kinds made once chain runs. It must be called before chain is prepared.
func (o *openAPI) follow(chain *aggregator.APIAggregator) error {
	return chain.GenericAPIServer.AddPostStartHook("openapi-documents-of-kinds", func(hook genericapiserver.PostStartHookContext) error {
		api, err := client.NewForConfig(hook.LoopbackClientConfig)
		if err != nil {
			return err
		}
		go o.kinds.Run(hook, api)
		return nil
	})
}

// replace has the servers of a prepared chain serve what upstream's handlers have, and lets those go. Upstream then starts no controllers that
// would make the documents of custom kinds, too.
func (o *openAPI) replace(chain *aggregator.APIAggregator) error {
	core, ok := chain.GenericAPIServer.NextDelegate().(*genericapiserver.GenericAPIServer)
	if !ok {
		return fmt.Errorf("API server: the aggregator's delegate is a %T", chain.GenericAPIServer.NextDelegate())
	}
	custom, ok := core.NextDelegate().(*genericapiserver.GenericAPIServer)
	if !ok {
		return fmt.Errorf("API server: the delegate after Kubernetes' own kinds is a %T", core.NextDelegate())
	}
	for _, one := range []struct {
		server    *genericapiserver.GenericAPIServer
		documents *apidocs.Documents
	}{{core, &o.core}, {custom, &o.custom}} {
		mux := one.server.Handler.NonGoRestfulMux
		if err := one.documents.Take(mux); err != nil {
			return fmt.Errorf("API server: %w", err)
		}
		mux.Unregister(apidocs.Root)
		mux.Unregister(apidocs.Root + "/")
		mux.Handle(apidocs.Root, one.documents)
		mux.HandlePrefix(apidocs.Root+"/", one.documents)
		one.server.OpenAPIV3VersionedService = nil
	}
	// Definitions of all types there are, for documents that have been made; who needs them all the same makes them anew.
	o.v3.Definitions = nil
	if o.v2 == nil {
		return nil
	}
	serveV2(core, apidocs.OnDemand{
		Revision: func() string { return "start" },
		Build:    func(context.Context) (*spec.Swagger, error) { return o.swagger(core) },
	})
	serveV2(custom, apidocs.OnDemand{Revision: o.kinds.Revision, Build: func(ctx context.Context) (*spec.Swagger, error) {
		static, err := o.swagger(custom)
		if err != nil {
			return nil, err
		}
		definitions, err := definitionsOf(ctx, custom)
		if err != nil {
			return nil, err
		}
		return apidocs.Swagger(static, definitions)
	}})
	return nil
}

func serveV2(server *genericapiserver.GenericAPIServer, document http.Handler) {
	server.Handler.NonGoRestfulMux.Handle("/openapi/v2", document)
}

// swagger builds the document of version 2 of a server's own kinds, as upstream does at the start.
func (o *openAPI) swagger(server *genericapiserver.GenericAPIServer) (*spec.Swagger, error) {
	document, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(server.Handler.GoRestfulContainer.RegisteredWebServices()), o.v2)
	if err != nil {
		return nil, err
	}
	document.Definitions = handler.PruneDefaults(document.Definitions)
	return document, nil
}

func definitionsOf(ctx context.Context, server *genericapiserver.GenericAPIServer) ([]apiextensions.CustomResourceDefinition, error) {
	api, err := client.NewForConfig(server.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	return apidocs.List(ctx, api)
}
