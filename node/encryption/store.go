package encryption

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// flagzType asks /flagz for an object rather than for text to be read by people.
const flagzType = "application/json;as=Flagz;v=v1beta1;g=config.k8s.io"

// Store is a client of the datastore behind the API server, by the flags that the API server itself works
// by: kine's unix socket, which is root's, or external etcd.
func (c Cluster) Store(ctx context.Context) (*clientv3.Client, error) {
	data, err := c.Client.CoreV1().RESTClient().Get().AbsPath("/flagz").SetHeader("Accept", flagzType).Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("ask the API server for its datastore: %w", err)
	}
	var shown struct {
		Flags map[string]string `json:"flags"`
	}
	if err := json.Unmarshal(data, &shown); err != nil {
		return nil, fmt.Errorf("the API server's flags: %w", err)
	}
	servers := strings.Trim(shown.Flags["etcd-servers"], "[]")
	if servers == "" {
		return nil, fmt.Errorf("the API server's flags do not name a datastore")
	}
	cfg := clientv3.Config{Endpoints: strings.Split(servers, ","), DialTimeout: 5 * time.Second, Logger: zap.NewNop()}
	files := transport.TLSInfo{TrustedCAFile: shown.Flags["etcd-cafile"], CertFile: shown.Flags["etcd-certfile"], KeyFile: shown.Flags["etcd-keyfile"]}
	if files.TrustedCAFile != "" || files.CertFile != "" {
		if cfg.TLS, err = files.ClientConfig(); err != nil {
			return nil, fmt.Errorf("the datastore's certificates: %w", err)
		}
	}
	return clientv3.New(cfg)
}
