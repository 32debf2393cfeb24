package imageaccess

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"airgap/internal/site"
	"airgap/registry/distribution"
)

// cluster is an API server that knows one token, and lets its user create in namespace team and get in the cluster.
type cluster struct {
	*fake.Clientset
	down           bool
	tokens, rights int // questions
}

func newCluster() *cluster {
	c := &cluster{Clientset: fake.NewClientset()}
	c.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		c.tokens++
		if c.down {
			return true, nil, errors.New("connection refused")
		}
		if review.Spec.Token == "good" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
				Username: "system:serviceaccount:team:ci", Groups: []string{"system:serviceaccounts", site.NodesGroup},
			}}
		}
		return true, review, nil
	})
	c.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		c.rights++
		asked := *review.Spec.ResourceAttributes
		right := asked.Verb + " " + asked.Namespace + " " + asked.Name
		review.Status.Allowed = asked.Group == "airgap.internal" && asked.Resource == "images" &&
			(review.Spec.User == "system:serviceaccount:team:ci" && (right == "create team team/app" || right == "get  docker.io/library/nginx") ||
				review.Spec.User == "admin" && review.Spec.Groups[0] == "system:masters")
		return true, review, nil
	})
	return c
}

func TestAuthorize(t *testing.T) {
	certificate := func(name, group string) func(*http.Request) {
		return func(r *http.Request) {
			c := &x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: []string{group}}}
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}
		}
	}
	unverified := func(r *http.Request) {
		certificate("system:node:a", site.NodesGroup)(r)
		r.TLS.VerifiedChains = nil
	}
	basic := func(r *http.Request) { r.SetBasicAuth("anybody", "good") }
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer good") }
	wrong := func(r *http.Request) { r.SetBasicAuth("anybody", "bad") }
	node, admin := certificate("system:node:a", site.NodesGroup), certificate("admin", "system:masters")
	for _, test := range []struct {
		who        string
		credential func(*http.Request)
		verb       distribution.Verb
		repository string
		status     int // 0: allowed
	}{
		{"nobody", func(*http.Request) {}, distribution.Login, "", 401},
		{"wrong token", wrong, distribution.Login, "", 401},
		{"empty password", func(r *http.Request) { r.SetBasicAuth("x", "") }, distribution.Login, "", 401},
		{"basic", basic, distribution.Login, "", 0},
		{"bearer", bearer, distribution.Login, "", 0},
		{"basic", basic, distribution.Create, "team/app", 0},
		{"bearer", bearer, distribution.Create, "team/app", 0},
		{"basic", basic, distribution.Create, "team/other", 403},
		{"basic", basic, distribution.Delete, "team/app", 403},
		{"basic", basic, distribution.Get, "docker.io/library/nginx", 0},
		{"basic", basic, distribution.List, "", 403},
		{"a token of a user who says to be a node", basic, distribution.Replicate, "", 403},
		{"a token of a user who says to be a node", basic, distribution.Get, "team/app", 403},
		{"node", node, distribution.Login, "", 0},
		{"node", node, distribution.Get, "team/app", 0},
		{"node", node, distribution.Replicate, "", 0},
		{"node", node, distribution.Create, "team/app", 403},
		{"node", node, distribution.Delete, "team/app", 403},
		{"a certificate that was not verified", unverified, distribution.Get, "team/app", 401},
		{"admin", admin, distribution.Create, "app", 0},
		{"admin", admin, distribution.Replicate, "", 403},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		test.credential(r)
		err := New(newCluster()).Authorize(r, test.verb, test.repository)
		var refusal *distribution.Error
		if test.status == 0 && err != nil || test.status != 0 && (!errors.As(err, &refusal) || refusal.Status != test.status) {
			t.Errorf("%s: %s %s: %v, want %d", test.who, test.verb, test.repository, err, test.status)
		}
	}
}

func TestAnswersAreBelievedForAWhile(t *testing.T) {
	c := newCluster()
	a := New(c)
	now := time.Now()
	a.now = func() time.Time { return now }
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r.SetBasicAuth("x", "good")
	for range 5 {
		if err := a.Authorize(r, distribution.Create, "team/app"); err != nil {
			t.Fatal(err)
		}
	}
	if c.tokens != 1 || c.rights != 1 {
		t.Errorf("asked %d times for the token and %d times for the right", c.tokens, c.rights)
	}
	c.down = true
	now = now.Add(answersFor)
	var refusal *distribution.Error
	if err := a.Authorize(r, distribution.Create, "team/app"); !errors.As(err, &refusal) || refusal.Status != http.StatusServiceUnavailable {
		t.Errorf("an old answer is believed: %v", err)
	}
}

func TestNamespaceOf(t *testing.T) {
	for repository, want := range map[string]string{
		"team/app": "team", "team/a/b": "team", "app": "", "team_x/app": "", "docker.io/library/nginx": "", "": "",
	} {
		if got := NamespaceOf(repository); got != want {
			t.Errorf("%s: %q, want %q", repository, got, want)
		}
	}
}
