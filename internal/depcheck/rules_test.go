package depcheck

import "strings"

// rule says what the packages of a part of the tree must not depend on, directly or not.
type rule struct {
	packages string   // pattern, see match
	except   []string // patterns of packages the rule is not for
	forbid   []string // patterns of import paths
	allow    []string // patterns of import paths that are allowed all the same
	direct   bool     // only what the package itself imports counts
	reason   string
}

// rules are the two chains of imports, internal → signing, airgap-images, registry → bundle →
// installer → cmd and addons → node → cmd, and who may know Kubernetes.
var rules = []rule{
	{
		packages: "airgap/internal/...",
		forbid:   []string{"airgap/..."},
		allow:    []string{"airgap/internal/..."},
		reason:   "internal packages are leaf tools: everybody may use them, so they know nobody",
	},
	{
		packages: "airgap/signing/...",
		forbid:   []string{"airgap/...", "github.com/google/go-containerregistry/...", "github.com/containerd/...", "k8s.io/kubernetes/..."},
		allow:    []string{"airgap/signing/...", "airgap/internal/..."},
		direct:   true, // the cosign libraries link registries and HTTP themselves
		reason:   "signing knows bytes, keys and signatures; what they are signatures of is not its business",
	},
	{
		packages: "airgap/signing/...",
		forbid:   []string{"net/http"},
		direct:   true,
		reason:   "verification is offline by construction",
	},
	{
		packages: "airgap/airgap-images",
		forbid:   []string{"airgap/...", "github.com/google/go-containerregistry/..."},
		allow:    []string{"airgap/airgap-images"},
		reason:   "a node asks for references and must not link the builder of the images",
	},
	{
		packages: "airgap/airgap-images/...",
		forbid:   []string{"airgap/..."},
		allow:    []string{"airgap/airgap-images/...", "airgap/internal/..."},
		reason:   "the images are built before anything that uses them",
	},
	{
		packages: "airgap/registry/...",
		forbid:   []string{"airgap/..."},
		allow:    []string{"airgap/registry/...", "airgap/internal/..."},
		reason:   "content is content: the store serves bundles and nodes and knows neither",
	},
	{
		packages: "airgap/bundle/...",
		forbid:   []string{"airgap/..."},
		allow:    []string{"airgap/bundle/...", "airgap/signing/...", "airgap/registry/...", "airgap/airgap-images/...", "airgap/internal/..."},
		reason:   "the format must be readable without a node or an installer",
	},
	{
		packages: "airgap/bundle",
		forbid:   []string{"helm.sh/...", "github.com/mholt/...", "k8s.io/client-go/...", "k8s.io/apimachinery/..."},
		reason:   "reading a hostile bundle must not depend on parsers of charts and archives; those belong to bundle/source",
	},
	{
		packages: "airgap/installer/...",
		forbid:   []string{"airgap/..."},
		allow: []string{"airgap/installer/...", "airgap/bundle/...", "airgap/signing/...", "airgap/registry/...", "airgap/airgap-images/...",
			"airgap/internal/...", "airgap/node/config", "airgap/node/kernel"},
		reason: "the installer places a node and does not run one: they meet in node/config, and in what both want of the kernel",
	},
	{
		packages: "airgap/addons/...",
		forbid:   []string{"airgap/..."},
		allow:    []string{"airgap/addons/...", "airgap/registry/...", "airgap/airgap-images/...", "airgap/internal/...", "airgap/node/config"},
		reason:   "add-ons are data and the controllers that apply them: a node has them, not the other way round",
	},
	{
		packages: "airgap/node/config",
		forbid:   []string{"airgap/..."},
		allow:    []string{"airgap/node/config"},
		reason:   "both chains share the configuration, so it imports nothing of ours",
	},
	{
		packages: "airgap/node/...",
		forbid:   []string{"airgap/bundle/...", "airgap/installer/...", "airgap/signing/..."},
		reason:   "a node knows no bundle format: what it runs was verified and placed before it started",
	},
	{
		packages: "airgap/node/datastore/...",
		forbid:   []string{"k8s.io/kubernetes/..."},
		reason:   "the datastore serves etcd's protocol to any client",
	},
	{
		packages: "airgap/...",
		forbid:   []string{"github.com/k3s-io/kine/pkg/endpoint", "github.com/nats-io/..."},
		reason:   "kine's endpoint links every driver it has, NATS' server among them: 14 MB that nobody asked for",
	},
	{
		packages: "airgap/...",
		except:   []string{"airgap/node/...", "airgap/test/..."},
		forbid:   []string{"k8s.io/kubernetes/..."},
		direct:   true, // cmd/airgap links the node, and with it Kubernetes
		reason:   "Kubernetes' own packages have no promise of stability: one folder knows them",
	},
	{
		packages: "airgap/...",
		except:   []string{"airgap/node/...", "airgap/cmd/airgap", "airgap/test/..."},
		forbid:   []string{"k8s.io/kubernetes/..."},
		reason:   "all but the node stays testable without a build of Kubernetes",
	},
	{
		packages: "airgap/...",
		forbid:   []string{"github.com/distribution/distribution/..."},
		reason:   "another registry is what tests compare with, not what is shipped",
	},
	{
		packages: "airgap/cmd/launcher",
		forbid:   []string{"net", "net/http", "k8s.io/...", "github.com/spf13/..."},
		reason:   "the launcher runs before every command: it stays small and starts in a millisecond or two",
	},
}

// match says whether an import path fits a pattern: the path itself, or, with "/..." at the end,
// everything below it too.
func match(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	}
	return path == pattern
}

func matchAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if match(p, path) {
			return true
		}
	}
	return false
}
