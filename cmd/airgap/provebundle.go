package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"airgap/installer"
	"airgap/internal/sandbox"
	"airgap/node/config"
	"airgap/signing"
)

var _ = register(newProveBundleCommand)

// proofNode is the name of the node in a proof.
const proofNode = "proof"

func newProveBundleCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:    "prove-bundle",
		Short:  "Start bundles on the machine of a proof (what build --prove runs as its first process)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const answerFile = 3
			unix.CloseOnExec(answerFile)
			var order proofOrder
			if err := json.NewDecoder(e.stdin).Decode(&order); err != nil {
				return withHint(&usageError{errors.New("this is run by airgap build --prove alone")}, "build with --prove")
			}
			proof, err := e.proveBundle(cmd.Context(), order)
			result := proofResult{Proof: proof, Code: exitCode(cmd.Context(), err), Hint: hintFor(err)}
			if err != nil {
				result.Error = err.Error()
			}
			return json.NewEncoder(os.NewFile(answerFile, "answer")).Encode(result)
		},
	}
}

// proveBundle makes this process's machine, and then a node of it; or takes one down.
func (e *env) proveBundle(ctx context.Context, order proofOrder) (*installer.Proof, error) {
	bundles, err := enterProof(order)
	if err != nil {
		return nil, err
	}
	server := config.NewServer()
	server.DataDir, server.NodeName = filepath.Join(order.Folder, "node"), proofNode
	if order.Remove {
		err := installer.Uninstall(ctx, installer.UninstallOptions{DataDir: server.DataDir})
		if errors.Is(err, installer.ErrNotInstalled) {
			err = nil
		}
		return nil, err
	}
	server.ResolvConf = filepath.Join(order.Folder, "resolv.conf") // as on a machine that never had a network
	if err := os.WriteFile(server.ResolvConf, nil, 0o644); err != nil {
		return nil, err
	}
	options := installer.Options{
		Server: server, Config: map[string]any{"node-name": server.NodeName, "resolv-conf": server.ResolvConf},
		Init: installer.InitNone, Timeout: order.Timeout, Tools: toolsFolder(), Version: strings.TrimSuffix(stampedVersions().Airgap, unstamped),
	}
	for _, text := range order.Keys {
		key, err := signing.ParsePublicKey([]byte(text))
		if err != nil {
			return nil, err
		}
		options.Keys = append(options.Keys, key)
	}
	beSmall()
	_ = log.SetLevel("error") // containerd's code warns of what does not matter here
	options.Out, options.Terminal = e.steps(order.Output)
	proof, err := installer.Prove(ctx, installer.ProofOptions{Bundles: bundles, Install: options, Settle: order.Settle})
	var failed *installer.ProofError
	if errors.As(err, &failed) && failed.Images {
		return nil, withHint(err, "an image that nothing names where the build looks is carried when spec.images names it")
	}
	return proof, installError(err)
}

// enterProof makes the machine, and says where on it the bundles are.
func enterProof(order proofOrder) (bundles []string, err error) {
	machine := sandbox.Options{Folder: order.Folder, Layered: installer.HostFolders()}
	for _, bundle := range order.Bundles {
		machine.Seen = append(machine.Seen, filepath.Dir(bundle))
	}
	seen, err := sandbox.Enter(machine)
	if errors.Is(err, sandbox.ErrUnavailable) {
		return nil, withHint(&preflightError{err}, privilegesHint)
	}
	for i, folder := range seen {
		bundles = append(bundles, filepath.Join(folder, filepath.Base(order.Bundles[i])))
	}
	return bundles, err
}
