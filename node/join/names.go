package join

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"airgap/internal/site"
)

const (
	// passwordType is that of the Secrets with the passwords of nodes' names.
	passwordType corev1.SecretType = "airgap.internal/node-password"
	// passwordSuffix is behind the node's name in the Secret's.
	passwordSuffix = ".node-password.airgap"
	// passwordKey is the Secret's key with "sha256:<salt>:<hash>", hex.
	passwordKey = "hash"
	saltBytes   = 16

	annotationMachineID = "airgap.internal/machine-id" // hashed, as the machine told it
	annotationHostKeys  = "airgap.internal/host-keys"
	annotationJoined    = "airgap.internal/joined" // when last; RFC 3339
)

// names says whose the names of nodes are.
type names struct {
	client kubernetes.Interface
	now    func() time.Time
	log    *slog.Logger
	own    string // name of the node on this machine; empty: there is none
}

// machine is what tells a machine from its clones, hashed; empty where it has none.
type machine struct{ id, hostKeys string }

// claim makes sure that the name of a node belongs to whoever knows the password: it is theirs already, or nobody's and theirs
// from now on.
func (n *names) claim(ctx context.Context, node, password string, m machine) error {
	secret, err := n.get(ctx, node)
	if apierrors.IsNotFound(err) {
		// A Node without a password is of a time before this server, or registered itself again after it was deleted.
		if known, err := n.exists(ctx, node); err != nil || known {
			return errOr(err, taken(node, true))
		}
		if secret, err = n.create(ctx, node, password, m); apierrors.IsAlreadyExists(err) {
			secret, err = n.get(ctx, node) // somebody was faster
		}
	}
	if err != nil {
		return err
	}
	if !opens(secret, password) {
		known, err := n.exists(ctx, node)
		return errOr(err, taken(node, known))
	}
	return n.annotate(ctx, secret, m)
}

// claimable says whether claim would give the name to whoever knows the password.
func (n *names) claimable(ctx context.Context, node, password string) error {
	known, err := n.exists(ctx, node)
	if err != nil {
		return err
	}
	secret, err := n.get(ctx, node)
	switch {
	case apierrors.IsNotFound(err) && !known:
		return nil
	case err != nil && !apierrors.IsNotFound(err):
		return err
	case err != nil || !opens(secret, password):
		return taken(node, known)
	}
	return nil
}

// errOr is the server's failure if there was one, else the refusal.
func errOr(failure error, refused *site.Error) error {
	if failure != nil {
		return failure
	}
	return refused
}

// taken says what to do about a name that another machine has.
func taken(node string, registered bool) *site.Error {
	free := "airgap kubectl delete node " + node
	if !registered {
		free = "airgap kubectl -n kube-system delete secret " + secretName(node)
	}
	return refusal(http.StatusForbidden, site.CodeName,
		"the name %s belongs to another machine of this cluster: call this one otherwise with --node-name; or, if that machine is gone or was installed anew, free the name on the server with `%s`",
		node, free)
}

// mustHave refuses a node whose name is not its own, or not any more: it was deleted, and the name may be another machine's since. Its
// certificate alone does not tell.
func (n *names) mustHave(ctx context.Context, node, password string) error {
	secret, err := n.get(ctx, node)
	if apierrors.IsNotFound(err) || err == nil && !opens(secret, password) {
		return refusal(http.StatusForbidden, site.CodeName,
			"this machine's node %s was deleted from the cluster: join again with a token, or uninstall", node)
	}
	return err
}

// clones tells of other nodes that say to be on the same machine.
func (n *names) clones(ctx context.Context, node string, m machine) (warnings []string, err error) {
	secrets, err := n.list(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(secrets, func(a, b corev1.Secret) int { return strings.Compare(a.Name, b.Name) })
	for _, secret := range secrets {
		other := strings.TrimSuffix(secret.Name, passwordSuffix)
		if other == node {
			continue
		}
		var same []string
		if m.id != "" && secret.Annotations[annotationMachineID] == m.id {
			same = append(same, "the machine ID (/etc/machine-id)")
		}
		if m.hostKeys != "" && secret.Annotations[annotationHostKeys] == m.hostKeys {
			same = append(same, "the SSH host keys (/etc/ssh/ssh_host_*)")
		}
		if len(same) > 0 {
			warnings = append(warnings, fmt.Sprintf(
				"%s has %s of node %s: one was copied from the other; give the copy its own", node, strings.Join(same, " and "), other))
		}
	}
	return warnings, nil
}

// free lets go of a name.
func (n *names) free(ctx context.Context, node string) error {
	secret, err := n.get(ctx, node)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return n.remove(ctx, secret)
}

// remove deletes this very Secret, not one that took its place.
func (n *names) remove(ctx context.Context, secret *corev1.Secret) error {
	err := n.client.CoreV1().Secrets(secret.Namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(secret.UID)),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("free the name of a node: %w", err)
	}
	n.log.Info("the name of a node is free", "node", strings.TrimSuffix(secret.Name, passwordSuffix))
	return nil
}

func (n *names) get(ctx context.Context, node string) (*corev1.Secret, error) {
	return n.client.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, secretName(node), metav1.GetOptions{})
}

func (n *names) exists(ctx context.Context, node string) (bool, error) {
	_, err := n.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// list returns the Secrets of all names.
func (n *names) list(ctx context.Context) ([]corev1.Secret, error) {
	all, err := n.client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{FieldSelector: "type=" + string(passwordType)})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all.Items, func(s corev1.Secret) bool {
		return s.Type != passwordType || !strings.HasSuffix(s.Name, passwordSuffix)
	}), nil
}

func (n *names) create(ctx context.Context, node, password string, m machine) (*corev1.Secret, error) {
	hash, err := hashPassword(password)
	if err != nil {
		return nil, err
	}
	return n.client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secretName(node), Namespace: metav1.NamespaceSystem, Annotations: n.annotations(m)},
		Type:       passwordType, Data: map[string][]byte{passwordKey: []byte(hash)},
	}, metav1.CreateOptions{})
}

// annotate keeps what the machine says of itself now.
func (n *names) annotate(ctx context.Context, secret *corev1.Secret, m machine) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": n.annotations(m)}})
	if err != nil {
		return err
	}
	_, err = n.client.CoreV1().Secrets(secret.Namespace).Patch(ctx, secret.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func (n *names) annotations(m machine) map[string]string {
	return map[string]string{
		annotationMachineID: m.id, annotationHostKeys: m.hostKeys, annotationJoined: n.now().UTC().Format(time.RFC3339),
	}
}

func secretName(node string) string { return node + passwordSuffix }

// uidOf is what events on a node have in place of its UID.
func uidOf(node string) types.UID { return types.UID(node) }

// hashPassword hashes a password of 128 random bits: those nobody guesses, however fast the hash. The salt keeps two
// nodes with one password, which copied machines have, from looking alike.
func hashPassword(password string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return hashWith(hex.EncodeToString(salt), password), nil
}

func hashWith(salt, password string) string {
	sum := sha256.Sum256([]byte(salt + ":" + password))
	return "sha256:" + salt + ":" + hex.EncodeToString(sum[:])
}

// opens says whether the password is the one that the Secret has the hash of.
func opens(secret *corev1.Secret, password string) bool {
	hash := string(secret.Data[passwordKey])
	parts := strings.Split(hash, ":")
	return secret.Type == passwordType && len(parts) == 3 &&
		subtle.ConstantTimeCompare([]byte(hashWith(parts[1], password)), []byte(hash)) == 1
}
