package encryption

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// Cluster is a [Server] reached by its API.
type Cluster struct{ Client kubernetes.Interface }

// lastConfig is the metric that tells which file an API server works by
// (apiserver/pkg/server/options/encryptionconfig/metrics).
var lastConfig = regexp.MustCompile(`(?m)^apiserver_encryption_config_controller_last_config_info\{[^}]*\bhash="(sha256:[0-9a-f]{64})"[^}]*\} 1$`)

// Hashes implements [Server].
func (c Cluster) Hashes(ctx context.Context) ([]string, error) {
	data, err := c.Client.CoreV1().RESTClient().Get().AbsPath("/metrics").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var hashes []string
	for _, match := range lastConfig.FindAllSubmatch(data, -1) {
		hashes = append(hashes, string(match[1]))
	}
	if len(hashes) == 0 {
		return nil, errors.New("its metrics do not tell")
	}
	return hashes, nil
}

// Rewrite implements [Server]. An update that changes nothing is written all the same where the stored
// value is encrypted otherwise than it would be now (apiserver/pkg/storage/etcd3, GuaranteedUpdate).
func (c Cluster) Rewrite(ctx context.Context) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := c.Client.CoreV1().Secrets("").List(ctx, options)
		if err != nil {
			return err
		}
		for i := range page.Items {
			name, namespace := page.Items[i].Name, page.Items[i].Namespace
			secret := &page.Items[i]
			err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
				_, err := c.Client.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
				if apierrors.IsConflict(err) {
					fresh, getErr := c.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
					if getErr != nil {
						return getErr
					}
					secret = fresh
				}
				return err
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("secret %s/%s: %w", namespace, name, err)
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return nil
		}
	}
}
