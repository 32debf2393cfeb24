package helm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"helm.sh/helm/v3/pkg/downloader"
	"helm.sh/helm/v3/pkg/getter"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"airgap/internal/helmchart"
)

// access is what a chart repository or registry wants to see, and how it is known.
type access struct {
	username, password string
	authorities        []byte // PEM; empty: the host's
	caFile             string // the same as a file; "" if there are none
	configFile         string // registry credentials, in Docker's format
}

// download fetches a chart over the network, for the sites that have one, with the Helm SDK's
// client. Everything it writes is in a folder of its own that is gone afterwards: neither the host's Helm
// configuration nor a file that happens to have the chart's name is looked at.
func (c *Controller) download(ctx context.Context, object *helmchart.Chart) ([]byte, error) {
	spec := &object.Spec
	location, err := url.Parse(spec.Chart)
	if err != nil {
		return nil, invalid{fmt.Errorf("spec.chart: %w", err)}
	}
	isOCI := registry.IsOCI(spec.Chart)
	isURL := location.Scheme == "https" || location.Scheme == "http"
	if !isOCI && !isURL && spec.Repo == "" {
		return nil, invalid{fmt.Errorf("spec.chart %q: give the chart in spec.chartContent, or as oci:// or https:// reference, or name its spec.repo", spec.Chart)}
	}
	folder, err := os.MkdirTemp("", "airgap-chart-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	access, err := c.access(ctx, object, folder)
	if err != nil {
		return nil, err
	}

	providers := getter.Getters()
	client := downloader.ChartDownloader{
		Out:     io.Discard,
		Getters: providers,
		Options: []getter.Option{
			getter.WithTLSClientConfig("", "", access.caFile),
			getter.WithInsecureSkipVerifyTLS(spec.InsecureSkipTLSVerify),
			getter.WithPlainHTTP(spec.PlainHTTP),
			getter.WithPassCredentialsAll(spec.AuthPassCredentials),
		},
		RepositoryConfig: filepath.Join(folder, "repositories.yaml"),
		RepositoryCache:  folder,
	}
	reference := spec.Chart
	credentialsFor := location
	switch {
	case isOCI:
		client.RegistryClient, err = registryClient(access, spec)
		if err != nil {
			return nil, err
		}
		client.Options = append(client.Options, getter.WithRegistryClient(client.RegistryClient))
	case !isURL:
		reference, err = repo.FindChartInAuthAndTLSAndPassRepoURL(spec.Repo, access.username, access.password, spec.Chart, spec.Version,
			"", "", access.caFile, spec.InsecureSkipTLSVerify, spec.AuthPassCredentials, providers)
		if err != nil {
			return nil, fmt.Errorf("chart repository %s: %w", spec.Repo, err)
		}
		if credentialsFor, err = url.Parse(spec.Repo); err != nil {
			return nil, invalid{fmt.Errorf("spec.repo: %w", err)}
		}
	}
	// A repository's index can name any host: credentials are for the repository's own.
	if target, err := url.Parse(reference); err == nil && (spec.AuthPassCredentials || target.Scheme == credentialsFor.Scheme && target.Host == credentialsFor.Host) {
		client.Options = append(client.Options, getter.WithBasicAuth(access.username, access.password))
	}
	path, _, err := client.DownloadTo(reference, spec.Version, folder)
	if err != nil {
		return nil, fmt.Errorf("download of chart %s: %w", reference, err)
	}
	return os.ReadFile(path)
}

func registryClient(access access, spec *helmchart.Spec) (*registry.Client, error) {
	tlsConfig := &tls.Config{InsecureSkipVerify: spec.InsecureSkipTLSVerify, MinVersion: tls.VersionTLS12}
	if len(access.authorities) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(access.authorities) {
			return nil, invalid{errors.New("spec.repoCA, spec.repoCAConfigMap: no certificate in them")}
		}
	}
	httpClient := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, Proxy: http.ProxyFromEnvironment}}
	store, err := credentials.NewStore(access.configFile, credentials.StoreOptions{})
	if err != nil {
		return nil, invalid{fmt.Errorf("spec.dockerRegistrySecret: %w", err)}
	}
	authorizer := auth.Client{Client: httpClient, Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	if access.username != "" {
		authorizer.Credential = func(context.Context, string) (auth.Credential, error) {
			return auth.Credential{Username: access.username, Password: access.password}, nil
		}
	}
	options := []registry.ClientOption{
		registry.ClientOptWriter(io.Discard),
		registry.ClientOptCredentialsFile(access.configFile),
		registry.ClientOptHTTPClient(httpClient),
		registry.ClientOptAuthorizer(authorizer),
	}
	if spec.PlainHTTP {
		options = append(options, registry.ClientOptPlainHTTP())
	}
	return registry.NewClient(options...)
}

// access reads the secrets that a HelmChart names, and writes to folder what Helm wants as files.
func (c *Controller) access(ctx context.Context, object *helmchart.Chart, folder string) (access, error) {
	var a access
	spec, core := &object.Spec, c.typed.CoreV1()
	authorities := []byte(spec.RepoCA)
	if reference := spec.RepoCAConfigMap; reference != nil {
		configMap, err := core.ConfigMaps(object.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if err != nil {
			return a, fmt.Errorf("spec.repoCAConfigMap: %w", err)
		}
		for _, pem := range configMap.Data {
			authorities = slices.Concat(authorities, []byte("\n"), []byte(pem))
		}
	}
	if len(authorities) > 0 {
		a.authorities, a.caFile = authorities, filepath.Join(folder, "ca.pem")
		if err := os.WriteFile(a.caFile, authorities, 0o600); err != nil {
			return a, err
		}
	}
	if reference := spec.AuthSecret; reference != nil {
		secret, err := core.Secrets(object.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if err != nil {
			return a, fmt.Errorf("spec.authSecret: %w", err)
		}
		a.username, a.password = string(secret.Data[corev1.BasicAuthUsernameKey]), string(secret.Data[corev1.BasicAuthPasswordKey])
	}
	a.configFile = filepath.Join(folder, "registry.json")
	credentials := []byte("{}")
	if reference := spec.DockerRegistrySecret; reference != nil {
		secret, err := core.Secrets(object.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if err != nil {
			return a, fmt.Errorf("spec.dockerRegistrySecret: %w", err)
		}
		credentials = secret.Data[corev1.DockerConfigJsonKey]
	}
	return a, os.WriteFile(a.configFile, credentials, 0o600)
}
