package imageaccess

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"airgap/internal/site"
	"airgap/registry/distribution"
)

const (
	// Group and Resource of the rights; see the package comment.
	Group    = "airgap.internal"
	Resource = "images"

	// answersFor is how long an answer of the API server is believed: one push makes dozens of requests.
	answersFor = 10 * time.Second
	// maxAnswers bounds those that are kept.
	maxAnswers = 4096
	// apiTimeout bounds one question to the API server.
	apiTimeout = 10 * time.Second
)

// Authorizer asks the API server. Its identity needs the right to create TokenReviews and SubjectAccessReviews, which
// nodes have.
type Authorizer struct {
	api kubernetes.Interface
	now func() time.Time

	mu     sync.Mutex
	tokens map[[sha256.Size]byte]tokenAnswer
	rights map[string]rightAnswer
}

type tokenAnswer struct {
	user  authenticationv1.UserInfo
	until time.Time
}

type rightAnswer struct {
	may   bool
	until time.Time
}

// New returns an authorizer that asks by api.
func New(api kubernetes.Interface) *Authorizer {
	return &Authorizer{api: api, now: time.Now, tokens: map[[sha256.Size]byte]tokenAnswer{}, rights: map[string]rightAnswer{}}
}

// Authorize implements [distribution.Authorizer].
func (a *Authorizer) Authorize(r *http.Request, verb distribution.Verb, repository string) error {
	user, err := a.identify(r)
	if err != nil {
		return err
	}
	node := slices.Contains(user.Groups, site.NodesGroup) && isCertificate(r)
	switch {
	case verb == distribution.Login:
		return nil
	case node && (verb == distribution.Get || verb == distribution.List || verb == distribution.Replicate):
		return nil
	case node, verb == distribution.Replicate:
		return refuse(http.StatusForbidden, distribution.CodeDenied, "%s may not %s here: nodes alone replicate, and they do nothing else", user.Username, verb)
	}
	return a.allowed(r.Context(), user, verb, repository)
}

// isCertificate tells whether a client has shown a certificate of the cluster. The listener has verified it.
func isCertificate(r *http.Request) bool { return r.TLS != nil && len(r.TLS.VerifiedChains) > 0 }

// identify says who sends a request: the certificate's subject, as the API server reads it, or whose the token is.
func (a *Authorizer) identify(r *http.Request) (authenticationv1.UserInfo, error) {
	if isCertificate(r) {
		subject := r.TLS.VerifiedChains[0][0].Subject
		return authenticationv1.UserInfo{Username: subject.CommonName, Groups: append(slices.Clone(subject.Organization), "system:authenticated")}, nil
	}
	_, token, ok := r.BasicAuth()
	if !ok {
		token, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	if !ok || token == "" {
		return authenticationv1.UserInfo{}, refuse(http.StatusUnauthorized, distribution.CodeUnauthorized,
			"log in with any user name and a Kubernetes token as the password (`kubectl create token`)")
	}
	return a.review(r.Context(), token)
}

// review asks whose a token is.
func (a *Authorizer) review(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	key := sha256.Sum256([]byte(token))
	a.mu.Lock()
	answer, known := a.tokens[key]
	a.mu.Unlock()
	if known && a.now().Before(answer.until) {
		return answer.user, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	review, err := a.api.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, unavailable(err)
	}
	if !review.Status.Authenticated {
		return authenticationv1.UserInfo{}, refuse(http.StatusUnauthorized, distribution.CodeUnauthorized,
			"the cluster does not know this token, or it has expired: `kubectl create token` makes one")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tokens) >= maxAnswers {
		clear(a.tokens)
	}
	a.tokens[key] = tokenAnswer{review.Status.User, a.now().Add(answersFor)}
	return review.Status.User, nil
}

// allowed asks whether RBAC lets a user do something with a repository.
func (a *Authorizer) allowed(ctx context.Context, user authenticationv1.UserInfo, verb distribution.Verb, repository string) error {
	key := strings.Join(append([]string{user.UID, user.Username, string(verb), repository}, user.Groups...), "\x00")
	a.mu.Lock()
	answer, known := a.rights[key]
	a.mu.Unlock()
	if !known || !a.now().Before(answer.until) {
		var err error
		if answer, err = a.askRight(ctx, user, verb, repository); err != nil {
			return err
		}
		a.mu.Lock()
		if len(a.rights) >= maxAnswers {
			clear(a.rights)
		}
		a.rights[key] = answer
		a.mu.Unlock()
	}
	if answer.may {
		return nil
	}
	what := fmt.Sprintf("%q of %s.%s", verb, Resource, Group)
	if repository != "" {
		what += fmt.Sprintf(" named %q", repository)
	}
	where := "in the whole cluster"
	if namespace := NamespaceOf(repository); namespace != "" {
		where = "in namespace " + namespace
	}
	return refuse(http.StatusForbidden, distribution.CodeDenied, "%s has not the right %s %s (ClusterRoles airgap:image-pusher and airgap:image-puller have such)", user.Username, what, where)
}

func (a *Authorizer) askRight(ctx context.Context, user authenticationv1.UserInfo, verb distribution.Verb, repository string) (rightAnswer, error) {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	review, err := a.api.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: NamespaceOf(repository), Verb: string(verb), Group: Group, Resource: Resource, Name: repository,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return rightAnswer{}, unavailable(err)
	}
	return rightAnswer{may: review.Status.Allowed && !review.Status.Denied, until: a.now().Add(answersFor)}, nil
}

// NamespaceOf is the namespace in which the right to a repository is asked for: its first element, if that could be
// one and is not all of the name. It is empty for the whole cluster.
func NamespaceOf(repository string) string {
	first, _, ok := strings.Cut(repository, "/")
	if !ok || len(validation.IsDNS1123Label(first)) > 0 {
		return ""
	}
	return first
}

func refuse(status int, code, format string, args ...any) error {
	return &distribution.Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// unavailable is the answer while nobody can say who may do what.
func unavailable(err error) error {
	return refuse(http.StatusServiceUnavailable, distribution.CodeUnavailable, "the API server does not say whether this is allowed: %v", err)
}
