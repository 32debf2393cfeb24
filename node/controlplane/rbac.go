package controlplane

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// controlPlaneRole is the label that kubectl shows as a node's role. The kubelet may not
// give it to itself.
const controlPlaneRole = "node-role.kubernetes.io/control-plane"

// Bootstrap returns the add-on that puts into the cluster what nodes need of it: the right to
// renew their own client certificates, and the node named nodeName, if any, its role.
func Bootstrap(nodeName string) AddOn {
	return AddOn{Name: "bootstrap", Run: func(ctx context.Context, config *rest.Config) error {
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		for {
			err := bootstrap(ctx, client, nodeName)
			if err == nil {
				break
			}
			klog.V(2).InfoS("bootstrap is not done yet", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
		<-ctx.Done()
		return nil
	}}
}

func bootstrap(ctx context.Context, client kubernetes.Interface, nodeName string) error {
	renewal := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "airgap:node-certificate-renewal"},
		RoleRef: rbacv1.RoleRef{
			APIGroup: rbacv1.GroupName, Kind: "ClusterRole",
			Name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
		},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:nodes"}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, renewal, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := grantNetworkPolicy(ctx, client); err != nil {
		return err
	}
	if nodeName == "" {
		return nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"true"}}}`, controlPlaneRole)
	_, err := client.CoreV1().Nodes().Patch(ctx, nodeName, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}
