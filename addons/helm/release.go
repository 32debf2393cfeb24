package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"airgap/internal/helmchart"
)

const (
	// ownerLabel on a release names the namespace of its HelmChart, whose name it shares.
	ownerLabel = "airgap.internal/helmchart-namespace"
	// historyMax is how many revisions of a release are kept; each holds the chart.
	historyMax = 10
)

// A releaser does to one release what Helm's command line would.
type releaser struct {
	action  *action.Configuration
	typed   kubernetes.Interface
	name    string
	owner   string // namespace of the HelmChart
	target  string // namespace of the release
	timeout time.Duration
}

func newReleaser(config *rest.Config, typed kubernetes.Interface, in *inputs, log *slog.Logger) (*releaser, error) {
	connection, err := newConnection(config, in.target)
	if err != nil {
		return nil, err
	}
	configuration := new(action.Configuration)
	debug := func(format string, args ...any) {
		if log.Enabled(context.Background(), slog.LevelDebug) {
			log.Debug("helm: "+fmt.Sprintf(format, args...), "release", in.name, "namespace", in.target)
		}
	}
	if err := configuration.Init(connection, in.target, string(cmp.Or(in.driver, helmchart.DriverSecret)), debug); err != nil {
		return nil, err
	}
	configuration.KubeClient.(*kube.Client).Namespace = in.target
	return &releaser{action: configuration, typed: typed, name: in.name, owner: in.owner, target: in.target, timeout: in.timeout}, nil
}

// last returns the newest revision, nil if there is none.
func (r *releaser) last() (*release.Release, error) {
	last, err := r.action.Releases.Last(r.name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	return last, err
}

// everDeployed says whether any revision was applied in full.
func (r *releaser) everDeployed() (bool, error) {
	history, err := r.action.Releases.History(r.name)
	if err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
		return false, err
	}
	for _, revision := range history {
		if s := revision.Info.Status; s == release.StatusDeployed || s == release.StatusSuperseded {
			return true, nil
		}
	}
	return false, nil
}

func (r *releaser) install(ctx context.Context, chart *chart.Chart, in *inputs) (*release.Release, error) {
	if in.createNamespace {
		if err := r.createNamespace(ctx); err != nil {
			return nil, err
		}
	}
	install := action.NewInstall(r.action)
	install.ReleaseName, install.Namespace = r.name, r.target
	install.Timeout = r.timeout
	install.TakeOwnership = in.takeOwnership
	install.Labels = map[string]string{ownerLabel: r.owner}
	// Against an API server that validates fields itself, as all do, Helm checks nothing more: it
	// would only fetch megabytes of OpenAPI to find that out.
	install.DisableOpenAPIValidation = true
	return install.RunWithContext(ctx, chart, in.values)
}

func (r *releaser) upgrade(ctx context.Context, chart *chart.Chart, in *inputs) (*release.Release, error) {
	upgrade := action.NewUpgrade(r.action)
	upgrade.Namespace = r.target
	upgrade.Timeout = r.timeout
	upgrade.MaxHistory = historyMax
	upgrade.ResetValues = true // otherwise no values at all would mean the last revision's
	upgrade.TakeOwnership = in.takeOwnership
	upgrade.Labels = map[string]string{ownerLabel: r.owner}
	upgrade.DisableOpenAPIValidation = true
	return upgrade.RunWithContext(ctx, r.name, chart, in.values)
}

// rollback makes the release be what it was at a revision, and returns the revision that is made of it.
func (r *releaser) rollback(revision int) (*release.Release, error) {
	rollback := action.NewRollback(r.action)
	rollback.Version = revision
	rollback.Timeout = r.timeout
	rollback.MaxHistory = historyMax
	if err := rollback.Run(r.name); err != nil {
		return nil, fmt.Errorf("rollback to revision %d: %w", revision, err)
	}
	return r.action.Releases.Last(r.name)
}

// uninstall removes the release and its history, and returns when its objects are gone; that there is none
// is no error.
func (r *releaser) uninstall(ctx context.Context) error {
	uninstall := action.NewUninstall(r.action)
	uninstall.IgnoreNotFound = true
	uninstall.Timeout = r.timeout
	uninstall.Wait = true // what is still being deleted would be taken for the next install's
	namespace, err := r.typed.CoreV1().Namespaces().Get(ctx, r.target, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		uninstall.DisableHooks = true
	case err != nil:
		return fmt.Errorf("uninstall: %w", err)
	case namespace.DeletionTimestamp != nil:
		uninstall.DisableHooks = true // nothing new can be made there
	}
	if _, err := uninstall.Run(r.name); err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	return nil
}

// abandon marks a revision as failed that nobody works on any more.
func (r *releaser) abandon(pending *release.Release) error {
	pending.SetStatus(release.StatusFailed, "interrupted while "+pending.Info.Status.String())
	if err := r.action.Releases.Update(pending); err != nil {
		return fmt.Errorf("revision %d was interrupted and cannot be marked as failed: %w", pending.Version, err)
	}
	return nil
}

// createNamespace makes the target namespace, unless it is there. (Helm's own option fetches the API
// server's whole OpenAPI to validate that one object.)
func (r *releaser) createNamespace(ctx context.Context) error {
	namespaces := r.typed.CoreV1().Namespaces()
	if _, err := namespaces.Get(ctx, r.target, metav1.GetOptions{}); err == nil || !apierrors.IsNotFound(err) {
		return err
	}
	_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.target}}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", r.target, err)
	}
	return nil
}
