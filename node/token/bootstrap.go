package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	bootstrapsecret "k8s.io/cluster-bootstrap/util/secrets"

	"airgap/internal/site"
)

// Defaults of a bootstrap token; the names are K3s'.
const (
	DefaultTTL   = 24 * time.Hour
	DefaultGroup = "system:bootstrappers:airgap:default-node-token"
)

// DefaultUsages are what a bootstrap token is for.
var DefaultUsages = []string{"signing", "authentication"}

// Bootstrap is a short-lived token: a Secret in kube-system that the API server's own authenticator knows,
// and that the token cleaner removes when it has ended.
type Bootstrap struct {
	ID          string    `json:"id"`
	Description string    `json:"description,omitempty"`
	Expires     time.Time `json:"expires,omitzero"` // zero: never
	Usages      []string  `json:"usages"`
	Groups      []string  `json:"groups"`

	secret string
}

// Options are those of a new bootstrap token.
type Options struct {
	Text        string        // "id.secret"; empty: made
	TTL         time.Duration // 0: never ends
	Description string
	Usages      []string
	Groups      []string
}

// Create puts a bootstrap token into the cluster.
func Create(ctx context.Context, client kubernetes.Interface, now time.Time, o Options) (site.Token, error) {
	text := o.Text
	if text == "" {
		var err error
		if text, err = bootstraputil.GenerateBootstrapToken(); err != nil {
			return site.Token{}, err
		}
	}
	if !bootstraputil.IsValidBootstrapToken(text) {
		return site.Token{}, fmt.Errorf("%w: want six characters, a dot and sixteen characters, all of a-z and 0-9", site.ErrTokenFormat)
	}
	if o.TTL < 0 {
		return site.Token{}, fmt.Errorf("ttl: %s is in the past", o.TTL)
	}
	if err := bootstraputil.ValidateUsages(o.Usages); err != nil {
		return site.Token{}, err
	}
	for _, group := range o.Groups {
		if err := bootstraputil.ValidateBootstrapGroupName(group); err != nil {
			return site.Token{}, err
		}
	}
	id, secret, _ := strings.Cut(text, ".")
	data := map[string]string{
		bootstrapapi.BootstrapTokenIDKey:     id,
		bootstrapapi.BootstrapTokenSecretKey: secret,
	}
	if o.Description != "" {
		data[bootstrapapi.BootstrapTokenDescriptionKey] = o.Description
	}
	if len(o.Groups) > 0 {
		data[bootstrapapi.BootstrapTokenExtraGroupsKey] = strings.Join(o.Groups, ",")
	}
	if o.TTL > 0 {
		data[bootstrapapi.BootstrapTokenExpirationKey] = now.Add(o.TTL).UTC().Format(time.RFC3339)
	}
	for _, usage := range o.Usages {
		data[bootstrapapi.BootstrapTokenUsagePrefix+usage] = "true"
	}
	_, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: bootstraputil.BootstrapTokenSecretName(id), Namespace: metav1.NamespaceSystem},
		Type:       bootstrapapi.SecretTypeBootstrapToken, StringData: data,
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return site.Token{}, fmt.Errorf("there is a bootstrap token %s already; delete it first", id)
	}
	return site.Token{User: id, Secret: secret}, err
}

// ErrEnded is a token that was good once.
var ErrEnded = errors.New("the token has ended")

// Authenticates says whether t is a bootstrap token of the cluster that machines may show to say who they are. The rules
// are those of the API server's own authenticator (plugin/pkg/auth/authenticator/token/bootstrap); one whose time is up
// is [ErrEnded] until the token cleaner has removed it.
func Authenticates(ctx context.Context, client kubernetes.Interface, now time.Time, t site.Token) (bool, error) {
	if !t.IsBootstrap() {
		return false, nil
	}
	secret, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, bootstraputil.BootstrapTokenSecretName(t.User), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want := site.Token{User: string(secret.Data[bootstrapapi.BootstrapTokenIDKey]), Secret: string(secret.Data[bootstrapapi.BootstrapTokenSecretKey])}
	if secret.Type != bootstrapapi.SecretTypeBootstrapToken || secret.DeletionTimestamp != nil || !t.Opens(want) ||
		string(secret.Data[bootstrapapi.BootstrapTokenUsageAuthentication]) != "true" {
		return false, nil
	}
	if bootstrapsecret.HasExpired(secret, now) {
		return false, ErrEnded
	}
	return true, nil
}

// List returns the cluster's bootstrap tokens by their IDs.
func List(ctx context.Context, client kubernetes.Interface) ([]Bootstrap, error) {
	secrets, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{
		FieldSelector: "type=" + string(bootstrapapi.SecretTypeBootstrapToken),
	})
	if err != nil {
		return nil, err
	}
	list := []Bootstrap{}
	for _, s := range secrets.Items {
		b := Bootstrap{
			ID: string(s.Data[bootstrapapi.BootstrapTokenIDKey]), secret: string(s.Data[bootstrapapi.BootstrapTokenSecretKey]),
			Description: string(s.Data[bootstrapapi.BootstrapTokenDescriptionKey]), Usages: []string{}, Groups: []string{},
		}
		if groups := string(s.Data[bootstrapapi.BootstrapTokenExtraGroupsKey]); groups != "" {
			b.Groups = strings.Split(groups, ",")
		}
		for key, value := range s.Data {
			if usage, ok := strings.CutPrefix(key, bootstrapapi.BootstrapTokenUsagePrefix); ok && string(value) == "true" {
				b.Usages = append(b.Usages, usage)
			}
		}
		slices.Sort(b.Usages)
		if end, err := time.Parse(time.RFC3339, string(s.Data[bootstrapapi.BootstrapTokenExpirationKey])); err == nil {
			b.Expires = end
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Bootstrap) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Delete takes a bootstrap token, named by its ID or its text, out of the cluster.
func Delete(ctx context.Context, client kubernetes.Interface, name string) (id string, err error) {
	if t, err := site.ParseToken(name); err == nil && t.IsBootstrap() {
		name = t.User
	}
	if !bootstraputil.IsValidBootstrapTokenID(name) {
		return "", fmt.Errorf("%w: %q is no bootstrap token's ID of six characters", site.ErrTokenFormat, name)
	}
	err = client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, bootstraputil.BootstrapTokenSecretName(name), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return name, fmt.Errorf("there is no bootstrap token %s", name)
	}
	return name, err
}

// Generate makes a bootstrap token's text without putting it anywhere.
func Generate() (string, error) { return bootstraputil.GenerateBootstrapToken() }
