//go:build !desk

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"airgap/node/config"
	"airgap/registry/distribution"
)

var _ = register(newRegistryCommand)

func newRegistryCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "See, push and remove the site's own images",
		Long: `See, push and remove the site's own images: those that were pushed to its nodes, not those of bundles.

Run as root on a server; its administrator may do everything. From anywhere else docker, podman, skopeo and the
like push to <node>:6446 with a Kubernetes token as the password. Pods name what was pushed as
registry.airgap.internal/NAME:TAG, or <any node>:6446/NAME:TAG.`,
		Example: `  airgap registry ls
  airgap registry push docker-archive:app.tar team/app:1
  airgap registry rm team/app:1`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRegistryListCommand(e), newRegistryPushCommand(e), newRegistryRemoveCommand(e))
	return cmd
}

func newRegistryListCommand(e *env) *cobra.Command {
	var at serverAt
	var output string
	cmd := &cobra.Command{
		Use: "ls [NAME]", Aliases: []string{"list"},
		Short: "List the site's own images",
		Example: `  airgap registry ls
  airgap registry ls team/app --output json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.listImages(cmd.Context(), &at, strings.Join(args, ""), output)
		},
	}
	at.add(cmd)
	addOutputFlag(cmd, &output, "o")
	return cmd
}

// pushedImage is a line of the list.
type pushedImage struct {
	Image  string `json:"image"`
	Digest string `json:"digest"`
}

func (e *env) listImages(ctx context.Context, at *serverAt, only, output string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	options, err := at.registry(ctx)
	if err != nil {
		return err
	}
	names := []string{only}
	if only == "" {
		host, err := name.NewRegistry(distribution.SiteHost)
		if err != nil {
			return err
		}
		if names, err = remote.Catalog(ctx, host, options...); err != nil {
			return err
		}
	}
	list := []pushedImage{} // never null in JSON
	for _, repository := range names {
		parsed, err := name.NewRepository(ownName(repository))
		if err != nil {
			return &usageError{err}
		}
		tags, err := remote.List(parsed, options...)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			found, err := remote.Head(parsed.Tag(tag), options...)
			if err != nil {
				return err
			}
			list = append(list, pushedImage{parsed.Tag(tag).Name(), found.Digest.String()})
		}
	}
	if output == outputJSON {
		encoder := json.NewEncoder(e.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(list)
	}
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tDIGEST")
	for _, image := range list {
		fmt.Fprintf(table, "%s\t%s\n", image.Image, image.Digest)
	}
	return table.Flush()
}

func newRegistryRemoveCommand(e *env) *cobra.Command {
	var at serverAt
	cmd := &cobra.Command{
		Use: "rm NAME:TAG|NAME@DIGEST…", Aliases: []string{"remove"},
		Short: "Remove images of the site's own",
		Long: `Remove images of the site's own. A tag alone goes; a digest goes with all tags that name it. Pods that run the
image are not stopped, and their nodes keep what they have unpacked.`,
		Example: `  airgap registry rm team/app:1`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := at.registry(cmd.Context())
			if err != nil {
				return err
			}
			for _, arg := range args {
				reference, err := ownReference(arg)
				if err != nil {
					return err
				}
				if err := remote.Delete(reference, options...); err != nil {
					return err
				}
				fmt.Fprintln(e.stdout, "removed", reference.Name())
			}
			return nil
		},
	}
	at.add(cmd)
	return cmd
}

// registry is how the registry of this machine's node is talked to, as the administrator.
func (a *serverAt) registry(ctx context.Context) ([]remote.Option, error) {
	const hint = "run this as root on a server's machine, whose node runs"
	admin, err := clientcmd.BuildConfigFromFlags("", a.kubeconfigFile())
	if err != nil {
		return nil, withHint(err, hint)
	}
	tls, err := rest.TLSConfigFor(admin)
	if err != nil {
		return nil, withHint(err, hint)
	}
	data, err := os.ReadFile(a.paths().AgentHandover())
	if err != nil {
		return nil, withHint(err, hint)
	}
	node := config.NewAgent()
	if err := json.Unmarshal(data, node); err != nil {
		return nil, fmt.Errorf("%s: %w", a.paths().AgentHandover(), err)
	}
	tls.ServerName = "127.0.0.1" // which is in the node's certificate, as the registry's own name is not
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(node.PeerPort))
	transport := &http.Transport{TLSClientConfig: tls, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport)}, nil
}

// ownName is a repository or an image with the site's registry before it.
func ownName(text string) string {
	return distribution.SiteHost + "/" + strings.TrimPrefix(text, distribution.SiteHost+"/")
}

// ownReference reads the name of an image of the site's own, which must say its tag or digest.
func ownReference(text string) (name.Reference, error) {
	reference, err := name.ParseReference(ownName(text), name.StrictValidation)
	if err != nil {
		return nil, &usageError{err}
	}
	return reference, nil
}
