package main

import (
	"github.com/spf13/cobra"

	"airgap/docs"
)

var _ = register(newSchemaCommand)

func newSchemaCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of airgap.yaml, for editors",
		Long: `Print the JSON Schema of airgap.yaml. An editor that knows it completes keys and marks mistakes as you type;
with the YAML language server, a first line in airgap.yaml names it:

  # yaml-language-server: $schema=airgap.schema.json

airgap itself does not need it: its messages name the line and the key.`,
		Example: `  airgap schema > airgap.schema.json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := e.stdout.Write(docs.Schema)
			return err
		},
	}
}
