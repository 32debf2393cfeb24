//go:build !desk

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"airgap/internal/site"
)

func addPrintJoinFlag(cmd *cobra.Command, value *bool) {
	cmd.Flags().BoolVar(value, "print-join", false, "print the line to type on a machine that joins, instead of the token alone")
}

// printToken prints a token, or the whole command that joins with it.
func (e *env) printToken(ctx context.Context, client kubernetes.Interface, t site.Token, printJoin bool) error {
	p := &printer{w: e.stdout}
	if !printJoin {
		p.line("%s", t.Text())
		return p.err
	}
	server, err := serverURL(ctx, client)
	if err != nil {
		p.line("%s", t.Text()) // it is made, and shown this once
		return errors.Join(fmt.Errorf("the server's address for the line to type: %w", err), p.err)
	}
	p.line("airgap install --server %s --token %s", server, t.Text())
	return p.err
}

// serverURL is where other machines reach the API server: what it says of itself in the Service kubernetes.
func serverURL(ctx context.Context, client kubernetes.Interface) (string, error) {
	const name = "kubernetes"
	slice, err := client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, endpoint := range slice.Endpoints {
		for _, port := range slice.Ports {
			if port.Port != nil && len(endpoint.Addresses) > 0 {
				return "https://" + net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(int(*port.Port))), nil
			}
		}
	}
	return "", fmt.Errorf("EndpointSlice %s/%s has no address yet", metav1.NamespaceDefault, name)
}
