package apidocs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"testing"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapiv3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// packaged returns the definitions of the Gateway API and of Traefik, as an API server has them.
func packaged(t *testing.T) []apiextensions.CustomResourceDefinition {
	t.Helper()
	var list []apiextensions.CustomResourceDefinition
	for _, name := range []string{"gateway-api-crds.yaml", "traefik-crds.yaml"} {
		content, err := os.ReadFile("../../../addons/crds/" + name)
		if err != nil {
			t.Fatal(err)
		}
		documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
		for {
			var definition apiextensions.CustomResourceDefinition
			if err := documents.Decode(&definition); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if definition.Name == "" {
				continue
			}
			apiextensions.SetDefaults_CustomResourceDefinition(&definition)
			apiextensions.SetDefaults_CustomResourceDefinitionSpec(&definition.Spec)
			definition.UID, definition.Generation = types.UID(definition.Name), 1
			definition.Status.Conditions = []apiextensions.CustomResourceDefinitionCondition{{Type: apiextensions.Established, Status: apiextensions.ConditionTrue}}
			list = append(list, definition)
		}
	}
	if len(list) < 10 {
		t.Fatalf("%d definitions", len(list))
	}
	return list
}

// upstreamOf runs upstream's controllers on definitions, and returns the handlers that they fill.
func upstreamOf(t *testing.T, definitions []apiextensions.CustomResourceDefinition) (v2, v3 http.Handler) {
	t.Helper()
	var objects []runtime.Object
	groupVersions := map[string]bool{}
	for i := range definitions {
		objects = append(objects, &definitions[i])
	}
	served(definitions, func(d *apiextensions.CustomResourceDefinition, version string) {
		groupVersions["apis/"+d.Spec.Group+"/"+version] = true
	})
	factory := informers.NewSharedInformerFactory(fake.NewClientset(objects...), 0)
	informer := factory.Apiextensions().V1().CustomResourceDefinitions()
	two, three := openapiv2.NewController(informer), openapiv3.NewController(informer)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); factory.Shutdown() })
	factory.Start(stop)
	factory.WaitForCacheSync(stop)

	service3, handler3 := upstreams(nil)
	go three.Run(service3, stop)
	service2, mux2 := handler.NewOpenAPIService(new(spec.Swagger)), http.NewServeMux()
	service2.RegisterOpenAPIVersionedService("/openapi/v2", pathHandler{mux2})
	go two.Run(static(), service2, stop)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var document spec.Swagger
		data, err := get(mux2, "/openapi/v2")
		if err == nil {
			err = document.UnmarshalJSON(data)
		}
		if err == nil && document.Info != nil && len(paths(t, handler3)) == len(groupVersions) {
			return mux2, handler3
		}
		if time.Now().After(deadline) {
			t.Fatalf("upstream has %d documents of %d, and of version 2: %v", len(paths(t, handler3)), len(groupVersions), err)
		}
	}
}

type pathHandler struct{ *http.ServeMux }

func (p pathHandler) Handle(path string, handler http.Handler) { p.ServeMux.Handle(path, handler) }

func static() *spec.Swagger {
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger: "2.0", Info: &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: "v1"}}, Paths: &spec.Paths{},
	}}
}

// paths returns the groups and versions that there are documents of.
func paths(t *testing.T, h http.Handler) map[string]handler3.OpenAPIV3DiscoveryGroupVersion {
	t.Helper()
	data, err := get(h, Root)
	if err != nil {
		t.Fatal(err)
	}
	var list handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list.Paths
}

func TestKindsAreDocumentedAsByUpstream(t *testing.T) {
	all := packaged(t)
	changed := packaged(t)
	changed[3].Generation++
	changed[3].Spec.Names.Plural, changed[3].Name = "others", "others."+changed[3].Spec.Group
	unestablished := packaged(t)
	unestablished[0].Status.Conditions[0].Status = apiextensions.ConditionFalse

	var kinds Kinds
	kinds.Documents = &Documents{}
	revisions := map[string]string{}
	for _, test := range []struct {
		name        string
		definitions []apiextensions.CustomResourceDefinition
	}{{"all", all}, {"one changed", changed}, {"one not established", unestablished}, {"half of them", packaged(t)[:len(all)/2]}} {
		t.Run(test.name, func(t *testing.T) {
			v2, v3 := upstreamOf(t, test.definitions)
			kinds.Follow(test.definitions)
			sameAnswer(t, v3, kinds.Documents, Root, nil)
			for groupVersion, want := range paths(t, v3) {
				sameAnswer(t, v3, kinds.Documents, want.ServerRelativeURL, http.Header{"Accept": {"application/json"}})
				if groupVersion == "apis/traefik.io/v1alpha1" {
					sameAnswer(t, v3, kinds.Documents, Root+"/"+groupVersion, http.Header{"Accept": {forms[1].contentType}})
				}
			}
			want, err := get(v2, "/openapi/v2")
			if err != nil {
				t.Fatal(err)
			}
			got, err := get(OnDemand{Revision: kinds.Revision, Build: func(context.Context) (*spec.Swagger, error) {
				return Swagger(static(), test.definitions)
			}}, "/openapi/v2")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("version 2 has %d bytes, want %d that are the same", len(got), len(want))
			}
			if other := revisions[kinds.Revision()]; other != "" {
				t.Errorf("the revision is that of %q", other)
			}
			revisions[kinds.Revision()] = test.name
		})
	}
}

// TestKindsThatStay holds that documents are only made of definitions that have changed: all are delivered every few minutes.
func TestKindsThatStay(t *testing.T) {
	kinds := Kinds{Documents: &Documents{}}
	kinds.Follow(packaged(t))
	documents, revision := maps.Clone(kinds.Documents.byPath), kinds.Revision()
	again := packaged(t)
	for i := range again {
		again[i].ResourceVersion = "9"
	}
	kinds.Follow(again)
	for groupVersion, d := range documents {
		if kinds.Documents.find(groupVersion) != d {
			t.Errorf("the document of %s was made again", groupVersion)
		}
	}
	if kinds.Revision() != revision {
		t.Error("the revision has changed")
	}
}

func TestOnDemandBuildsOnlyWhatIsNew(t *testing.T) {
	revision, built := "one", 0
	d := OnDemand{Revision: func() string { return revision }, Build: func(context.Context) (*spec.Swagger, error) {
		built++
		if revision == "broken" {
			return nil, errors.New("no definitions")
		}
		return static(), nil
	}}
	etag := ask(d, "/openapi/v2", nil).Header().Get("Etag")
	for _, test := range []struct {
		revision      string
		status, built int
	}{{"one", 304, 1}, {"two", 200, 2}, {"broken", 500, 3}} {
		revision = test.revision
		got := ask(d, "/openapi/v2", http.Header{"If-None-Match": {etag}})
		if got.Code != test.status || built != test.built {
			t.Errorf("revision %s: %d, built %d times, want %d and %d", test.revision, got.Code, built, test.status, test.built)
		}
	}
}
