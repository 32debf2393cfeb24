package installer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"airgap/internal/site"
)

// maxAnswerBytes bounds an answer of the API server.
const maxAnswerBytes = 64 << 20

// kube asks an API server. It knows just enough to watch a node come up, and keeps the
// installer small: a GET gives JSON.
type kube struct {
	server string
	client *http.Client
}

// errNotFound is the answer 404.
var errNotFound = errors.New("not found")

// kubeconfigFile is the part of a kubeconfig that the node writes: one cluster, one user, everything inline.
type kubeconfigFile struct {
	Clusters []struct {
		Cluster struct {
			Server string `json:"server"`
			CA     []byte `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		User struct {
			Certificate []byte `json:"client-certificate-data"`
			Key         []byte `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
}

// openKube reads the kubeconfig at path.
func openKube(path string) (*kube, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file kubeconfigFile
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Clusters) == 0 || len(file.Users) == 0 {
		return nil, fmt.Errorf("%s: names no cluster or no user", path)
	}
	cluster, user := file.Clusters[0].Cluster, file.Users[0].User
	certificate, err := tls.X509KeyPair(user.Certificate, user.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: client certificate: %w", path, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cluster.CA) {
		return nil, fmt.Errorf("%s: no certificate authority in it", path)
	}
	return newKube(cluster.Server, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}), nil
}

// openAgentKube asks by way of the agent's load balancer, on a loopback port, as the kubelet with these credentials does.
func openAgentKube(port int, pki string) (*kube, error) {
	authorities, err := os.ReadFile(filepath.Join(pki, site.FileAuthorities))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(pki, site.FileKubelet)
	config, err := site.TLSConfig(authorities, site.CertificateFiles(file, file))
	if err != nil {
		return nil, err
	}
	return newKube(fmt.Sprintf("https://127.0.0.1:%d", port), config), nil
}

func newKube(server string, config *tls.Config) *kube {
	// No proxy: the server is this machine.
	return &kube{server: server, client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}}
}

// close ends idle connections.
func (k *kube) close() { k.client.CloseIdleConnections() }

// get reads the object at path, "/api/v1/nodes", into v; nil reads nothing. The error is
// errNotFound for the answer 404.
func (k *kube) get(ctx context.Context, path string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server+path, nil)
	if err != nil {
		return err
	}
	answer, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body := io.LimitReader(answer.Body, maxAnswerBytes)
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", path, errNotFound)
	case answer.StatusCode != http.StatusOK:
		text, _ := io.ReadAll(io.LimitReader(body, 300))
		return fmt.Errorf("%s: %s: %s", path, answer.Status, text)
	case v == nil:
		return nil
	}
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// objectMeta is what is read of an object's metadata.
type objectMeta struct {
	UID         string            `json:"uid"`
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Generation  int64             `json:"generation"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Owners      []owner           `json:"ownerReferences"`

	DeletionTimestamp string `json:"deletionTimestamp"` // empty unless it is being deleted
}

// owner is what is read of the object that another one is for.
type owner struct {
	Kind string `json:"kind"`
}

// condition is an entry of status.conditions.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`

	LastHeartbeatTime time.Time `json:"lastHeartbeatTime"` // whole seconds
}

// conditionOf returns the condition of a type; zero if there is none.
func conditionOf(conditions []condition, kind string) condition {
	for _, c := range conditions {
		if c.Type == kind {
			return c
		}
	}
	return condition{}
}

// nodeObject is what is read of a Node.
type nodeObject struct {
	Metadata objectMeta `json:"metadata"`
	Status   struct {
		Conditions []condition `json:"conditions"`
		Addresses  []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		NodeInfo struct {
			KubeletVersion          string `json:"kubeletVersion"`
			ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
			OSImage                 string `json:"osImage"`
			KernelVersion           string `json:"kernelVersion"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// podObject is what is read of a Pod.
type podObject struct {
	Metadata objectMeta `json:"metadata"`
	Spec     podSpec    `json:"spec"`
	Status   struct {
		Phase                 string            `json:"phase"`
		Conditions            []condition       `json:"conditions"`
		InitContainerStatuses []containerStatus `json:"initContainerStatuses"`
		ContainerStatuses     []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

// podSpec is what is read of a pod's specification, or of a template of pods.
type podSpec struct {
	InitContainers []container `json:"initContainers"`
	Containers     []container `json:"containers"`
}

// container is what is read of a container's specification.
type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// containerStatus is what a pod says of one of its containers.
type containerStatus struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	State struct {
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
	} `json:"state"`
	LastState struct {
		Terminated *struct {
			ExitCode int    `json:"exitCode"`
			Message  string `json:"message"`
		} `json:"terminated"`
	} `json:"lastState"`
}

// list is a list of objects.
type list[T any] struct {
	Items []T `json:"items"`
}
