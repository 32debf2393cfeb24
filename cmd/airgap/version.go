package main

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// Versions that the Makefile stamps: -X main.airgapVersion=1.2.3 and so on. What is not stamped comes from
// the modules linked in.
var (
	airgapVersion     string // "1.2.3"
	kubernetesVersion string // "v1.37.1"
	containerdVersion string
	runcVersion       string
	kineVersion       string
	helmVersion       string
)

// unstamped is airgap's version in a build that was not stamped.
const unstamped = "0.0.0-dev"

// versions is what `airgap version` reports.
type versions struct {
	Airgap     string `json:"airgap"`
	Kubernetes string `json:"kubernetes"`
	Containerd string `json:"containerd"`
	Runc       string `json:"runc"`
	Kine       string `json:"kine"`
	Helm       string `json:"helm"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

var _ = register(newVersionCommand)

func newVersionCommand(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of airgap and of what it carries",
		Example: "  airgap version\n  airgap version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			v := stampedVersions()
			if output == outputJSON {
				return e.printJSON(v)
			}
			p := &printer{w: e.stdout}
			for _, line := range []struct{ name, version string }{
				{"airgap", v.Airgap}, {"kubernetes", v.Kubernetes}, {"containerd", v.Containerd},
				{"runc", v.Runc}, {"kine", v.Kine}, {"helm", v.Helm}, {"go", v.Go}, {"platform", v.Platform},
			} {
				p.line("%-10s  %s", line.name, line.version)
			}
			return p.err
		},
	}
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// stampedVersions are the stamped versions, or the modules'.
func stampedVersions() versions {
	modules := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			modules[module.Path] = module.Version
		}
	}
	or := func(stamped string, modulePaths ...string) string {
		for _, path := range modulePaths {
			if stamped == "" {
				stamped = modules[path]
			}
		}
		if stamped == "" {
			return "not in this build"
		}
		return stamped
	}
	v := versions{
		Airgap:     or(airgapVersion),
		Kubernetes: or(kubernetesVersion, "k8s.io/kubernetes"),
		Containerd: or(containerdVersion, "github.com/containerd/containerd/v2"),
		Runc:       or(runcVersion, "github.com/opencontainers/runc"),
		Kine:       or(kineVersion, "github.com/k3s-io/kine"),
		Helm:       or(helmVersion, "helm.sh/helm/v3"),
		Go:         runtime.Version(),
		Platform:   runtime.GOOS + "/" + runtime.GOARCH,
	}
	if airgapVersion == "" {
		v.Airgap = unstamped
	}
	if library := modules["k8s.io/apimachinery"]; kubernetesVersion == "" && modules["k8s.io/kubernetes"] == "" {
		v.Kubernetes = strings.Replace(library, "v0.", "v1.", 1) // the libraries of Kubernetes 1.37.1 are 0.37.1
	}
	return v
}
