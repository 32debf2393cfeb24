//go:build !desk

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	ctr "github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	"airgap/internal/atrest"
	"airgap/node/config"
	"airgap/registry"
)

// A client is upstream's own command line, made ready for this node's cluster. It takes
// all its arguments itself.
type client struct {
	name, short string
	run         func(ctx context.Context, args []string) error // args without the client's own name
}

// clients are the multi-call names of the executable.
var clients = []client{
	{"kubectl", "Control the cluster (Kubernetes' own client)", runKubectl},
	{"ctr", "Look into containerd (containerd's own client)", runCtr},
	{"helm", "Manage releases (Helm's own client)", runHelm},
	{"containerd", "Run containerd (what an agent starts)", runContainerd},
}

func init() {
	dispatch = func(_ context.Context, argv []string) (bool, error) {
		c, args, ok := findClient(argv)
		if !ok {
			return false, nil
		}
		// A client has its own way with signals.
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		return true, c.run(context.Background(), args)
	}
	for _, c := range clients {
		register(func(*env) *cobra.Command {
			cmd := &cobra.Command{
				Use: c.name, Short: c.short, DisableFlagParsing: true, Hidden: c.name == "containerd",
				RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
			}
			switch c.name {
			case "kubectl", "helm":
				cmd.ValidArgsFunction = completeClient(c.name)
			case "ctr":
				cmd.ValidArgsFunction = completeCtr
			}
			return cmd
		})
	}
}

func runKubectl(_ context.Context, args []string) error {
	useKubeconfig()
	os.Args = append([]string{"kubectl"}, args...)
	util.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	return nil
}

func runCtr(ctx context.Context, args []string) error {
	if len(args) > 1 && args[0] == cobra.ShellCompRequestCmd {
		answerCompletion(args[1:])
		return nil
	}
	paths := config.PathsOf(nodeDataDir())
	if os.Getenv("CONTAINERD_ADDRESS") == "" {
		os.Setenv("CONTAINERD_ADDRESS", paths.ContainerdSocket())
	}
	if os.Getenv("CONTAINERD_NAMESPACE") == "" {
		os.Setenv("CONTAINERD_NAMESPACE", registry.Namespace)
	}
	return ctr.New().Run(ctx, append([]string{"ctr"}, args...))
}

func runContainerd(ctx context.Context, args []string) error {
	beLight(atrest.NormalTimerSlack, gcPercent, false)
	os.Unsetenv("GOGC") // it has been read, and is not for the shims
	return command.App().Run(ctx, append([]string{"containerd"}, args...))
}

// runHelm becomes Helm, which is an executable of its own beside this one.
func runHelm(_ context.Context, args []string) error {
	useKubeconfig()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	helm := filepath.Join(filepath.Dir(self), "helm")
	err = syscall.Exec(helm, append([]string{"helm"}, args...), os.Environ())
	return &fs.PathError{Op: "run", Path: helm, Err: err}
}

// useKubeconfig points the client at this node's cluster unless the user points it elsewhere.
func useKubeconfig() {
	if os.Getenv("KUBECONFIG") != "" {
		return
	}
	file := config.PathsOf(nodeDataDir()).Kubeconfig()
	if f, err := os.Open(file); err == nil {
		f.Close()
		os.Setenv("KUBECONFIG", file)
	} else if home, homeErr := os.UserHomeDir(); homeErr == nil && errors.Is(err, fs.ErrPermission) {
		if _, err := os.Stat(filepath.Join(home, ".kube", "config")); err != nil {
			os.Stderr.WriteString("airgap: " + file + " is readable by root alone: use sudo, or set KUBECONFIG\n")
		}
	}
}

// findClient returns the client that the executable's own name or its first argument asks for.
func findClient(argv []string) (client, []string, bool) {
	if len(argv) == 0 {
		return client{}, nil, false
	}
	byName := func(name string) int {
		return slices.IndexFunc(clients, func(c client) bool { return c.name == name })
	}
	if i := byName(filepath.Base(argv[0])); i >= 0 {
		return clients[i], argv[1:], true
	}
	if len(argv) > 1 {
		if i := byName(argv[1]); i >= 0 {
			return clients[i], argv[2:], true
		}
	}
	return client{}, nil, false
}
