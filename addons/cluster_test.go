package addons

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"airgap/addons/apitest"
)

// A following is a deployer at work on a folder of a real cluster.
type following struct {
	*testing.T
	config *rest.Config
	client kubernetes.Interface
	folder string
	node   string

	deployer *Deployer
	stop     func()
}

func follow(t *testing.T) *following {
	t.Helper()
	config := apitest.Config(t, os.Getenv(apitest.Variable))
	f := &following{T: t, config: config, folder: t.TempDir(), node: "test-" + strings.ToLower(t.Name())}
	var err error
	if f.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.stop()
		if err := os.RemoveAll(f.folder); err != nil {
			t.Error(err)
		}
		f.start() // with an empty folder, it takes everything away
		f.waitFor("everything to be taken away", func() bool { return f.records() == 0 })
		f.stop()
	})
	f.start()
	return f
}

func (f *following) start(disable ...string) {
	f.Helper()
	var err error
	f.deployer, err = NewDeployer(DeployerOptions{Folder: f.folder, Config: f.config, Node: f.node, Disable: disable, Interval: time.Second})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.deployer.Run(ctx) }()
	f.stop = func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				f.Error(err)
			}
		case <-time.After(5 * time.Second):
			f.Error("the deployer did not end")
		}
	}
}

// write puts a file into the folder as someone with an editor would.
func (f *following) write(name, content string) {
	f.Helper()
	path := filepath.Join(f.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.Fatal(err)
	}
}

func (f *following) remove(name string) {
	f.Helper()
	if err := os.Remove(filepath.Join(f.folder, name)); err != nil {
		f.Fatal(err)
	}
}

func (f *following) waitFor(what string, is func() bool) {
	f.Helper()
	apitest.WaitFor(f.T, what, is, func() { f.Logf("status: %+v", f.deployer.Status()) })
}

func (f *following) status(file string) FileStatus {
	for _, status := range f.deployer.Status() {
		if status.File == file {
			return status
		}
	}
	return FileStatus{}
}

// records returns how many files the cluster remembers of this test.
func (f *following) records() (count int) {
	f.Helper()
	records, _, err := readRecords(context.Background(), f.client)
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range records {
		if r.node == f.node {
			count++
		}
	}
	return count
}

// configMap returns a ConfigMap's value under "v", "" if it is not there.
func (f *following) configMap(namespace, name string) string {
	f.Helper()
	c, err := f.client.CoreV1().ConfigMaps(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		f.Fatal(err)
	}
	return c.Data["v"]
}

func configMapYAML(name, value string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: %q}\n", name, value)
}

func TestDeployerFollowsFiles(t *testing.T) {
	f := follow(t)
	f.write("sub/a.yaml", configMapYAML("follow-1", "one")+configMapYAML("follow-2", "two"))
	f.waitFor("both objects", func() bool {
		return f.configMap("default", "follow-1") == "one" && f.configMap("default", "follow-2") == "two"
	})
	f.waitFor("Applied", func() bool { return f.status("sub/a.yaml").State == Applied })
	f.write("sub/a.yaml", configMapYAML("follow-1", "changed"))
	f.waitFor("the change, and the removal", func() bool {
		return f.configMap("default", "follow-1") == "changed" && f.configMap("default", "follow-2") == ""
	})
	f.waitFor("the record to shrink", func() bool { return len(f.status("sub/a.yaml").Objects) == 1 })
	statuses, err := ReadStatus(context.Background(), f.client)
	if err != nil || !slices.ContainsFunc(statuses, func(s FileStatus) bool { return s.File == "sub/a.yaml" && s.State == Applied }) {
		t.Errorf("another process reads %+v, error %v", statuses, err)
	}
	f.remove("sub/a.yaml")
	f.waitFor("the removal", func() bool { return f.configMap("default", "follow-1") == "" && f.records() == 0 })
}

func TestDeployerRemembersOverARestart(t *testing.T) {
	f := follow(t)
	f.write("a.yaml", configMapYAML("restart-1", "one"))
	f.write("b.yaml", configMapYAML("restart-2", "two"))
	f.waitFor("both", func() bool { return f.status("a.yaml").State == Applied && f.status("b.yaml").State == Applied })
	f.stop()
	f.remove("a.yaml")
	f.start()
	f.waitFor("the removal of what went while nobody looked", func() bool { return f.configMap("default", "restart-1") == "" })
	f.stop()
	f.start("b")
	f.waitFor("the removal of what is disabled", func() bool { return f.configMap("default", "restart-2") == "" })
	f.waitFor("no records", func() bool { return f.records() == 0 })
}

func TestDeployerMovesAnObjectBetweenFiles(t *testing.T) {
	f := follow(t)
	f.write("a.yaml", configMapYAML("move-1", "one")+configMapYAML("move-2", "two"))
	f.waitFor("Applied", func() bool { return f.status("a.yaml").State == Applied })
	before, err := f.client.CoreV1().ConfigMaps("default").Get(context.Background(), "move-2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.write("z.yaml", configMapYAML("move-2", "two, moved"))
	f.write("a.yaml", configMapYAML("move-1", "one"))
	f.waitFor("the move", func() bool {
		return f.configMap("default", "move-2") == "two, moved" && len(f.status("a.yaml").Objects) == 1
	})
	after, err := f.client.CoreV1().ConfigMaps("default").Get(context.Background(), "move-2", metav1.GetOptions{})
	if err != nil || after.UID != before.UID {
		t.Errorf("it was deleted and made anew: %v, error %v", after, err)
	}
}

func TestDeployerReportsAndDeletesNothingForABadFile(t *testing.T) {
	f := follow(t)
	f.write("a.yaml", configMapYAML("bad-1", "one"))
	f.waitFor("Applied", func() bool { return f.status("a.yaml").State == Applied })
	f.write("a.yaml", "kind: [\n")
	f.waitFor("Failed", func() bool { return f.status("a.yaml").State == Failed })
	if message := f.status("a.yaml").Message; !strings.Contains(message, "document at line 1") {
		t.Errorf("message %q", message)
	}
	f.write("a.yaml", configMapYAML("bad-2", "two")+"---\napiVersion: v1\nkind: Service\nmetadata: {name: bad-service}\nspec: {type: Nonsense}\n")
	f.waitFor("the good object, and the reason of the other", func() bool {
		s := f.status("a.yaml")
		return f.configMap("default", "bad-2") == "two" && s.State == Failed && strings.Contains(s.Message, "Nonsense")
	})
	if f.configMap("default", "bad-1") != "one" {
		t.Error("an object was deleted on account of a file that was not applied in full")
	}
	events, err := f.client.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + f.node})
	if err != nil || !slices.ContainsFunc(slices.Collect(func(yield func(string) bool) {
		for _, e := range events.Items {
			if !yield(e.Reason) {
				return
			}
		}
	}), func(reason string) bool { return reason == "ManifestFailed" }) {
		t.Errorf("no event about the node: %v, error %v", events, err)
	}
	f.write("a.yaml", configMapYAML("bad-2", "two"))
	f.waitFor("Applied, and the first object gone", func() bool {
		return f.status("a.yaml").State == Applied && f.configMap("default", "bad-1") == ""
	})
}

const siteCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sites.addons.example.org}
spec:
  group: addons.example.org
  scope: Namespaced
  names: {kind: Site, plural: sites}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func TestDeployerWaitsForKindsAndNamespaces(t *testing.T) {
	f := follow(t)
	// Named so that it is applied before the file it needs.
	f.write("a.yaml", "apiVersion: addons.example.org/v1\nkind: Site\nmetadata: {name: one, namespace: addons-kinds}\n")
	f.waitFor("the file to wait", func() bool { s := f.status("a.yaml"); return s.State == Pending && strings.Contains(s.Message, "Site") })
	f.write("b.yaml", "apiVersion: addons.example.org/v1\nkind: Site\nmetadata: {name: two, namespace: addons-kinds}\n---\n"+siteCRD+
		"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: addons-kinds}\n")
	f.waitFor("both files", func() bool { return f.status("a.yaml").State == Applied && f.status("b.yaml").State == Applied })
	if _, err := f.client.CoreV1().RESTClient().Get().AbsPath("/apis/addons.example.org/v1/namespaces/addons-kinds/sites/one").DoRaw(context.Background()); err != nil {
		t.Error(err)
	}
	f.remove("a.yaml")
	f.remove("b.yaml")
	f.waitFor("all of it to go", func() bool {
		_, err := f.client.CoreV1().Namespaces().Get(context.Background(), "addons-kinds", metav1.GetOptions{})
		return apierrors.IsNotFound(err) && f.records() == 0
	})
}

func TestDeployerLeavesWhatIsNotItsOwn(t *testing.T) {
	f := follow(t)
	ctx := context.Background()
	f.write("a.yaml", configMapYAML("own-1", "one")+"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: kube-public}\n")
	f.waitFor("Applied", func() bool { return f.status("a.yaml").State == Applied })
	// Someone takes the object over.
	c, err := f.client.CoreV1().ConfigMaps("default").Get(ctx, "own-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delete(c.Annotations, fileAnnotation)
	if _, err := f.client.CoreV1().ConfigMaps("default").Update(ctx, c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.remove("a.yaml")
	f.waitFor("the record to go", func() bool { return f.records() == 0 })
	if f.configMap("default", "own-1") != "one" {
		t.Error("an object that is another's was deleted")
	}
	if ns, err := f.client.CoreV1().Namespaces().Get(ctx, "kube-public", metav1.GetOptions{}); err != nil || ns.DeletionTimestamp != nil {
		t.Errorf("kube-public: %v, error %v", ns, err)
	}
	if err := f.client.CoreV1().ConfigMaps("default").Delete(ctx, "own-1", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func TestDeployerSkips(t *testing.T) {
	f := follow(t)
	f.write("a.yaml", configMapYAML("skip-1", "one"))
	f.waitFor("Applied", func() bool { return f.status("a.yaml").State == Applied })
	f.write("a.yaml.skip", "")
	f.write("a.yaml", configMapYAML("skip-1", "changed"))
	f.waitFor("Skipped", func() bool { return f.status("a.yaml").State == Skipped })
	time.Sleep(2 * settleTime)
	if got := f.configMap("default", "skip-1"); got != "one" {
		t.Errorf("a skipped file was applied or its object deleted: %q", got)
	}
	f.remove("a.yaml.skip")
	f.waitFor("Applied again", func() bool { return f.configMap("default", "skip-1") == "changed" })
}
