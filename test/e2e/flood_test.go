package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	floodTime        = 12 * time.Second // at least, and until the kubelet has renewed the node's lease, which it does every 10 s
	leaseTime        = 40 * time.Second // after which a node whose lease was not renewed is taken for lost
	floodClients     = 800              // Kubernetes gives all accounts of pods about 250 requests at a time, and one account 300 that wait
	floodConnections = 8
	adminPatience    = 10 * time.Second // shut out, it would wait longer than the flood; how quick it is, a busy machine does not tell
)

// accounts are two ordinary accounts with the same rights.
const accounts = `
apiVersion: v1
kind: Namespace
metadata: {name: flood}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: flooder, namespace: flood}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: quiet, namespace: flood}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: writer, namespace: flood}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list, create, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writers, namespace: flood}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer}
subjects: [{kind: ServiceAccount, name: flooder}, {kind: ServiceAccount, name: quiet}]
`

// apiClient is one account's way to the site's API server.
type apiClient struct {
	http  *http.Client
	token string
}

// do sends a request about the config maps of the namespace flood and returns the status code.
func (c apiClient) do(ctx context.Context, method, name, body string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, method, "https://127.0.0.1:6443/api/v1/namespaces/flood/configmaps"+name, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/yaml")
	response, err := c.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func (s *node) apiClient(account string) apiClient {
	s.T.Helper()
	token := strings.TrimSpace(s.Kubectl("-n", "flood", "create", "token", account))
	return apiClient{token: token, http: &http.Client{Transport: &http.Transport{
		DialContext: s.Dial, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}}
}

// flood sends requests from many clients, which share connections, until ctx is done. A client that is told to wait waits for
// a second, as Kubernetes' own clients do. It counts the answers by status code.
func flood(ctx context.Context, connections []apiClient) (answers map[int]int, failed error) {
	var all sync.WaitGroup
	var lock sync.Mutex
	answers = map[int]int{}
	for i := range floodClients {
		client := connections[i%len(connections)]
		all.Go(func() {
			name := fmt.Sprintf("flood-%d", i)
			configMap := "{apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + "}, data: {fill: " + strings.Repeat("x", 200) + "}}"
			for ctx.Err() == nil {
				for _, r := range [][3]string{{"GET", "", ""}, {"POST", "", configMap}, {"DELETE", "/" + name, ""}} {
					code, err := client.do(ctx, r[0], r[1], r[2])
					lock.Lock()
					if err == nil {
						answers[code]++
					} else if ctx.Err() == nil {
						failed = err
					}
					lock.Unlock()
					if code == http.StatusTooManyRequests {
						wait(ctx, time.Second)
					}
				}
			}
		})
	}
	all.Wait()
	return answers, failed
}

// wait waits for d, or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// renewed says when the kubelet last renewed the node's lease; "" if it has made none yet.
func (s *node) renewed() string {
	s.T.Helper()
	return s.Kubectl("-n", "kube-node-lease", "get", "lease", "node-1", "--ignore-not-found", "-o", "jsonpath={.spec.renewTime}")
}

// An account that floods the API is slowed down, and nobody else is harmed.
func testFlood(t *testing.T, s *node) {
	s.Apply(accounts)
	defer s.Kubectl("delete", "namespace", "flood", "--wait=false")
	quiet := s.apiClient("quiet")
	var connections []apiClient
	for range floodConnections {
		connections = append(connections, s.apiClient("flooder"))
	}
	before := s.renewed()

	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	enough := time.Now().Add(floodTime)
	type outcome struct {
		answers map[int]int
		err     error
	}
	flooded := make(chan outcome, 1)
	go func() {
		answers, err := flood(ctx, connections)
		flooded <- outcome{answers, err}
	}()

	var slowest, slowestQuiet time.Duration
	for renewed := false; ctx.Err() == nil && !(renewed && time.Now().After(enough)); renewed = s.renewed() != before {
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		var stderr bytes.Buffer
		cmd := s.Command("kubectl", "get", "nodes", "--no-headers")
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		slowest = max(slowest, time.Since(began))
		if err != nil || !strings.Contains(string(out), " Ready ") {
			t.Errorf("kubectl get nodes: %v\n%s%s", err, out, stderr.String())
		}
		began = time.Now()
		if code, err := quiet.do(context.Background(), "GET", "", ""); err != nil || code != http.StatusOK {
			t.Errorf("another account is answered %d, %v", code, err)
		}
		slowestQuiet = max(slowestQuiet, time.Since(began))
	}
	cancel()
	result := <-flooded
	t.Logf("answers by status: %v; kubectl get nodes took up to %s, a list by another account %s",
		result.answers, slowest.Round(time.Millisecond), slowestQuiet.Round(time.Millisecond))
	if s.renewed() == before {
		t.Errorf("the node's lease was not renewed since %s", before)
	}
	if slowest > adminPatience {
		t.Errorf("kubectl get nodes took %s, want at most %s", slowest, adminPatience)
	}
	if result.err != nil {
		t.Error("the flooder was cut off: ", result.err)
	}
	if result.answers[http.StatusTooManyRequests] == 0 || result.answers[http.StatusOK] == 0 {
		t.Error("the flooder should be answered, and told to wait (429)")
	}
}
