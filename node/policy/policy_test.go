package policy

import (
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"airgap/node/config"
)

func newServer(t *testing.T, profiles ...string) *config.Server {
	t.Helper()
	cfg := config.NewServer()
	cfg.DataDir = t.TempDir()
	cfg.Profiles = profiles
	if err := Write(cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAdmissionConfiguration(t *testing.T) {
	for _, test := range []struct {
		profiles []string
		plugins  []string
	}{
		{nil, []string{"EventRateLimit"}},
		{[]string{config.ProfileCIS, config.ProfileEdge}, []string{"EventRateLimit", "PodSecurity"}},
	} {
		cfg := newServer(t, test.profiles...)
		file := AdmissionFile(config.PathsOf(cfg.DataDir))
		scheme := runtime.NewScheme()
		install.Install(scheme)
		provider, err := admission.ReadAdmissionConfiguration(test.plugins, file, scheme)
		if err != nil {
			t.Fatal(err)
		}
		for _, plugin := range test.plugins {
			if found, err := provider.ConfigFor(plugin); err != nil || found == nil {
				t.Errorf("profiles %v: no configuration for %s: %v", test.profiles, plugin, err)
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if restricted := strings.Contains(string(data), "enforce: restricted"); restricted != slices.Contains(test.profiles, config.ProfileCIS) {
			t.Errorf("profiles %v: restricted is %v", test.profiles, restricted)
		}
	}
}

func TestArgsFollowTheProfile(t *testing.T) {
	audited := func(args []string) bool {
		return slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--audit-policy-file=") })
	}
	if audited(Args(newServer(t))) {
		t.Error("a server without a profile writes an audit log")
	}
	args := Args(newServer(t, config.ProfileCIS))
	for _, want := range []string{"--audit-log-maxage=30", "--audit-log-maxbackup=10", "--audit-log-maxsize=100"} {
		if !slices.Contains(args, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

// Nothing that could carry a secret is logged, whoever asks for whatever.
func TestAuditLogsNoContent(t *testing.T) {
	loaded, err := policy.LoadPolicyFromBytes(auditPolicy)
	if err != nil {
		t.Fatal(err)
	}
	evaluator := policy.NewPolicyRuleEvaluator(loaded)
	level := func(who, verb, resource string) auditinternal.Level {
		return evaluator.EvaluatePolicyRule(authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: who, Groups: []string{"system:authenticated"}}, Verb: verb, APIVersion: "v1",
			Resource: resource, ResourceRequest: true, Path: "/api/v1/" + resource,
		}).Level
	}
	for _, who := range []string{"system:admin", "alice", "system:serviceaccount:default:app", "system:node:n1", "system:kube-controller-manager"} {
		for _, verb := range []string{"get", "list", "create", "update", "patch", "delete"} {
			for _, resource := range []string{"secrets", "configmaps", "serviceaccounts", "pods"} {
				if got := level(who, verb, resource); got.GreaterOrEqual(auditinternal.LevelRequest) {
					t.Errorf("%s %s %s is logged at level %s", who, verb, resource, got)
				}
			}
		}
	}
	for _, who := range []string{"system:admin", "alice", "system:serviceaccount:default:app"} {
		for _, verb := range []string{"get", "create", "delete"} {
			if got := level(who, verb, "secrets"); got != auditinternal.LevelMetadata {
				t.Errorf("%s %s secrets is logged at level %s, want Metadata", who, verb, got)
			}
		}
	}
	if got := level("system:kube-controller-manager", "create", "secrets"); got != auditinternal.LevelMetadata {
		t.Errorf("a controller's write is logged at level %s, want Metadata", got)
	}
}
