package controlplane

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"airgap/node/imageaccess"
)

// ClusterRoles of what is pushed at a site, to be bound in a namespace or in the whole cluster.
const (
	imagePusherRole = "airgap:image-pusher"
	imagePullerRole = "airgap:image-puller"
)

// grantImages makes the roles. Who may edit a namespace may push to its repositories, and who may view it may pull
// from them: the former could run any image there anyway.
func grantImages(ctx context.Context, client kubernetes.Interface) error {
	for _, role := range []struct {
		name  string
		verbs []string
		to    []string // built-in roles that get these rights too
	}{
		// Whoever can replace a tag can make its content go: the right to delete adds nothing to that.
		{imagePusherRole, []string{"get", "create", "delete"}, []string{"admin", "edit"}},
		{imagePullerRole, []string{"get", "list"}, []string{"view"}},
	} {
		labels := map[string]string{}
		for _, to := range role.to {
			labels["rbac.authorization.k8s.io/aggregate-to-"+to] = "true"
		}
		_, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: role.name, Labels: labels},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{imageaccess.Group}, Resources: []string{imageaccess.Resource}, Verbs: role.verbs}},
		}, metav1.CreateOptions{})
		if err := ignoreExisting(err); err != nil {
			return err
		}
	}
	return nil
}
