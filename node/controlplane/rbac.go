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

	"airgap/internal/site"
)

// controlPlaneRole is the label that kubectl shows as a node's role. The kubelet may not
// give it to itself.
const controlPlaneRole = "node-role.kubernetes.io/control-plane"

// podNetworkRole lets nodes know of each other.
const podNetworkRole = "airgap:pod-network"

// Bootstrap returns the add-on that puts into the cluster what nodes need of it: the rights to
// renew their own client certificates and to know of each other, the roles of those who push images, and the node named
// nodeName, if any, its role.
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
	nodes := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: site.NodesGroup}}
	bind := func(name, role string) error {
		_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   nodes,
		}, metav1.CreateOptions{})
		return ignoreExisting(err)
	}
	// The pod network of a node follows the others; by itself a node may read its own Node only.
	_, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: podNetworkRole},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch"}}},
	}, metav1.CreateOptions{})
	if err := ignoreExisting(err); err != nil {
		return err
	}
	if err := bind(podNetworkRole, podNetworkRole); err != nil {
		return err
	}
	if err := bind("airgap:node-certificate-renewal", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"); err != nil {
		return err
	}
	if err := grantNetworkPolicy(ctx, client); err != nil {
		return err
	}
	if err := grantImages(ctx, client); err != nil {
		return err
	}
	if nodeName == "" {
		return nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"true"}}}`, controlPlaneRole)
	_, err = client.CoreV1().Nodes().Patch(ctx, nodeName, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

func ignoreExisting(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
