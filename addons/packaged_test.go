package addons

import (
	"bytes"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestMetricsServerManifest(t *testing.T) {
	got, err := MetricsServer("airgap.internal/metrics-server:v0.9.0")
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "metrics-server.yaml", got)
	if strings.Contains(string(got), "kubelet-insecure-tls") {
		t.Error("the kubelets' certificates are not verified")
	}
	if _, err := MetricsServer(""); err == nil {
		t.Error("no image, no error")
	}
}

func TestLocalStorageManifest(t *testing.T) {
	good := LocalStorageOptions{Image: "airgap.internal/local-path-provisioner:v0.0.30", HelperImage: "airgap.internal/busybox:1.35.0", Path: "/var/lib/airgap/storage"}
	got, err := LocalStorage(good)
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "local-storage.yaml", got)
	for _, path := range []string{"", "storage", "/", "/var/../etc"} {
		bad := good
		bad.Path = path
		if _, err := LocalStorage(bad); err == nil || !strings.Contains(err.Error(), "absolute path") {
			t.Errorf("path %q: %v", path, err)
		}
	}
}

// TestManifestsParse holds that each packaged file is one that the deployer takes, and that what runs in it is confined.
func TestManifestsParse(t *testing.T) {
	manifests, err := Traefik(allKinds("airgap.internal/traefik:v3.7.13"))
	if err != nil {
		t.Fatal(err)
	}
	if manifests["metrics-server.yaml"], err = MetricsServer("m"); err != nil {
		t.Fatal(err)
	}
	if manifests["local-storage.yaml"], err = LocalStorage(LocalStorageOptions{"l", "b", "/s"}); err != nil {
		t.Fatal(err)
	}
	for name, manifest := range manifests {
		objects, err := parseManifest(manifest)
		if err != nil || len(objects) == 0 {
			t.Errorf("%s: %d objects, %v", name, len(objects), err)
		}
		checkConfined(t, name, objects)
	}
}

// checkConfined holds that every Deployment keeps to the Pod Security Standard "restricted", does not
// write to its image, and says how much memory it needs.
func checkConfined(t *testing.T, name string, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() != "Deployment" {
			continue
		}
		pod, _, _ := unstructured.NestedMap(object.Object, "spec", "template", "spec")
		nonRoot, _, _ := unstructured.NestedBool(pod, "securityContext", "runAsNonRoot")
		seccomp, _, _ := unstructured.NestedString(pod, "securityContext", "seccompProfile", "type")
		if !nonRoot || seccomp != "RuntimeDefault" {
			t.Errorf("%s: %s: runAsNonRoot %v, seccomp %q", name, object.GetName(), nonRoot, seccomp)
		}
		containers, _, _ := unstructured.NestedSlice(pod, "containers")
		for _, c := range containers {
			container := c.(map[string]any)
			readOnly, _, _ := unstructured.NestedBool(container, "securityContext", "readOnlyRootFilesystem")
			escalation, set, _ := unstructured.NestedBool(container, "securityContext", "allowPrivilegeEscalation")
			dropped, _, _ := unstructured.NestedStringSlice(container, "securityContext", "capabilities", "drop")
			memory, _, _ := unstructured.NestedString(container, "resources", "requests", "memory")
			if !readOnly || escalation || !set || !slices.Equal(dropped, []string{"ALL"}) || memory == "" {
				t.Errorf("%s: %s: container %v is not confined", name, object.GetName(), container["name"])
			}
		}
	}
}

func TestTraefikIsPackedTheSameTwice(t *testing.T) {
	one, err := Traefik(allKinds("r/t:1"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := Traefik(allKinds("r/t:1"))
	if err != nil || !maps.EqualFunc(one, two, bytes.Equal) {
		t.Errorf("two manifests differ, %v", err)
	}
	for _, image := range []string{"", "traefik", "localhost:5000/traefik", "traefik:"} {
		if _, err := Traefik(TraefikOptions{Image: image}); err == nil || !strings.Contains(err.Error(), "no tag") {
			t.Errorf("image %q: %v", image, err)
		}
	}
}

func allKinds(image string) TraefikOptions {
	return TraefikOptions{Image: image, GatewayAPI: true, OwnKinds: true}
}

// TestTraefikForIngressesAlone holds that what is not served is neither defined nor watched.
func TestTraefikForIngressesAlone(t *testing.T) {
	manifests, err := Traefik(TraefikOptions{Image: "r/t:1"})
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(manifests)); !slices.Equal(names, []string{TraefikFile}) {
		t.Errorf("files %v", names)
	}
	got, err := renderManifests(t, manifests, "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "--providers.kubernetesingress=true") {
		t.Error("Ingresses are not served")
	}
	for _, not := range []string{"kubernetescrd", "kubernetesgateway", "gateway.networking.k8s.io", "traefik.io/v1alpha1"} {
		if strings.Contains(got, not) {
			t.Errorf("%q in\n%s", not, got)
		}
	}
	if _, err := renderManifests(t, manifests, "tlsStore: {default: {defaultCertificate: {secretName: site}}}"); err == nil || !strings.Contains(err.Error(), "--ingress-kinds traefik") {
		t.Errorf("a kind that is not served: %v", err)
	}
}

func TestFilesOf(t *testing.T) {
	got := FilesOf([]string{"coredns", "traefik"})
	if want := []string{"coredns", "traefik", "gateway-api-crds", "traefik-crds"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// render returns what Traefik's chart makes of values on top of the packaged ones.
func render(t *testing.T, values string) (string, error) {
	t.Helper()
	manifests, err := Traefik(allKinds("airgap.internal/traefik:v3.7.13"))
	if err != nil {
		t.Fatal(err)
	}
	return renderManifests(t, manifests, values)
}

func renderManifests(t *testing.T, manifests map[string][]byte, values string) (string, error) {
	t.Helper()
	var release struct {
		Spec struct{ ChartContent, ValuesContent string }
	}
	if err := yaml.Unmarshal(manifests[TraefikFile], &release); err != nil {
		t.Fatal(err)
	}
	archive, err := base64.StdEncoding.DecodeString(release.Spec.ChartContent)
	if err != nil {
		t.Fatal(err)
	}
	chart, err := loader.LoadArchive(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	packaged, err := chartutil.ReadValues([]byte(release.Spec.ValuesContent))
	if err != nil {
		t.Fatal(err)
	}
	site, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(chart, chartutil.CoalesceTables(site, packaged),
		chartutil.ReleaseOptions{Name: "traefik", Namespace: "kube-system", Revision: 1, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.TrimSpace(files[name]) != "" && strings.HasSuffix(name, ".yaml") {
			text.WriteString("---\n# " + name + "\n" + strings.TrimPrefix(strings.TrimSpace(files[name]), "---\n") + "\n")
		}
	}
	objects, err := parseManifest([]byte(text.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	checkConfined(t, "chart", objects)
	return text.String(), nil
}

func TestTraefikChart(t *testing.T) {
	got, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "traefik-chart.yaml", []byte(got))
}

func TestTraefikChartValues(t *testing.T) {
	for name, test := range map[string]struct {
		values string
		want   []string
		not    []string
	}{
		"service":     {"service: {type: NodePort, annotations: {a: b}, spec: {externalTrafficPolicy: Local}}", []string{"type: NodePort", "a: b", "externalTrafficPolicy: Local"}, nil},
		"node port":   {"ports: {web: {nodePort: 30080}}", []string{"nodePort: 30080"}, nil},
		"own port":    {"ports: {ssh: {port: 2222, exposedPort: 22, expose: {default: true}}}", []string{"--entryPoints.ssh.address=:2222/tcp", "port: 22\n", "containerPort: 2222"}, nil},
		"no TLS port": {"ports: {websecure: null}", nil, []string{"websecure"}},
		"redirect": {"ports: {web: {redirections: {entryPoint: {to: websecure, scheme: https, permanent: true}}}}",
			[]string{"--entryPoints.web.http.redirections.entryPoint.to=:443", "scheme=https", "permanent=true"}, nil},
		"trusted proxies":     {"ports: {web: {proxyProtocol: {trustedIPs: [10.0.0.0/8, 192.0.2.1]}}}", []string{"--entryPoints.web.proxyProtocol.trustedIPs=10.0.0.0/8,192.0.2.1"}, nil},
		"default certificate": {"tlsStore: {default: {defaultCertificate: {secretName: site}}}", []string{"kind: TLSStore", "secretName: site"}, nil},
		"TLS options":         {"tlsOptions: {default: {minVersion: VersionTLS13}}", []string{"kind: TLSOption", "VersionTLS13"}, nil},
		"UDP port":            {"ports: {dns: {port: 5353, exposedPort: 53, protocol: UDP, expose: {default: true}}}", []string{"--entryPoints.dns.address=:5353/udp", "protocol: UDP"}, []string{"entryPoints.dns.http"}},
		"access log":          {"logs: {access: {enabled: true}}", []string{"--accesslog=true"}, nil},
		"API":                 {"api: {enabled: true}", []string{"--api=true", "--api.insecure=false"}, nil},
		"no default class":    {"ingressClass: {isDefaultClass: false}", []string{`is-default-class: "false"`}, nil},
		"no Gateway API":      {"providers: {kubernetesGateway: {enabled: false}}", []string{"providers.kubernetesingress"}, []string{"gateway.networking.k8s.io", "kubernetesgateway"}},
		"HTTPS listener": {"gateway: {listeners: {websecure: {port: 443, protocol: HTTPS, certificateRefs: [{name: site}]}}}",
			[]string{"protocol: HTTPS", "mode: Terminate", "name: site"}, nil},
		"arguments": {"additionalArguments: [--serversTransport.insecureSkipVerify=true]\ndeployment: {replicas: 2}", []string{"--serversTransport.insecureSkipVerify=true", "replicas: 2"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := render(t, test.values)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			for _, not := range test.not {
				if strings.Contains(got, not) {
					t.Errorf("%q in\n%s", not, got)
				}
			}
		})
	}
	if _, err := render(t, "ports: {web: {redirections: {entryPoint: {to: nowhere}}}}"); err == nil || !strings.Contains(err.Error(), "no entry point nowhere") {
		t.Errorf("a redirection to nowhere: %v", err)
	}
}
