package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/installer"
	"airgap/internal/progress"
)

var _ = register(newInventoryCommand)

func newInventoryCommand(e *env) *cobra.Command {
	dataDir := nodeDataDir()
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "List what this machine has of bundles, for a delta that leaves it out",
		Long: `List, as JSON, which bundles and blobs this machine has. At the desk ` + "`airgap build --since inventory.json`" + ` makes
a delta: a bundle without them. The list has digests and sizes, and nothing secret.`,
		Example: `  airgap inventory > /media/stick/inventory.json
  airgap build -f airgap.yaml -o delta.airgap --key site.key --since inventory.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := requireNode(dataDir); err != nil {
				return err
			}
			inventory, err := installer.Inventory(dataDir)
			if err != nil {
				return err
			}
			return e.printJSON(inventory)
		},
	}
	cmd.Flags().StringVarP(&dataDir, "data-dir", "d", dataDir, "`folder` of the node")
	return cmd
}

// readSince reads what a site has: from an inventory, or from the head of a bundle that it has installed, wherever that lies. nil for no
// location.
func (e *env) readSince(ctx context.Context, location string, trust bundle.Trust) (*bundle.Inventory, error) {
	if location == "" {
		return nil, nil
	}
	inventory, err := e.inventoryAt(ctx, location, trust)
	if err != nil {
		return nil, fmt.Errorf("--since %s: %w", media.Name(location), err)
	}
	return inventory, nil
}

func (e *env) inventoryAt(ctx context.Context, location string, trust bundle.Trust) (*bundle.Inventory, error) {
	from := &mediaFlags{}
	options, err := from.options(e, location)
	if err != nil {
		return nil, err
	}
	if pipe := media.OpenPipe(ctx, location, options); pipe != nil {
		defer pipe.Close()
		begin := bufio.NewReader(pipe)
		if inventory, err := readInventory(begin); inventory != nil || err != nil {
			return inventory, err
		}
		location, options.Stdin = media.Stdin, begin // what has been read of it cannot be read again
	}
	if inventory, err := inventoryFile(location); inventory != nil || err != nil {
		return inventory, err
	}
	reader, err := media.Open(ctx, location, trust, options)
	if err != nil {
		return nil, missingBundle(err, location)
	}
	defer reader.Close()
	return bundle.InventoryOf(reader.Manifest())
}

// inventoryFile reads a file that begins as an inventory does; nil for locations that are no file, and other files.
func inventoryFile(location string) (*bundle.Inventory, error) {
	if info, err := os.Stat(location); !media.IsPath(location) || err != nil || !info.Mode().IsRegular() {
		return nil, nil // what opens bundles says what is wrong with it
	}
	file, err := os.Open(location)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readInventory(bufio.NewReader(file))
}

// readInventory reads what begins as JSON does, which no bundle does; nil for other things.
func readInventory(r *bufio.Reader) (*bundle.Inventory, error) {
	if first, err := r.Peek(1); err != nil || first[0] != '{' {
		return nil, nil
	}
	inventory, err := bundle.ReadInventory(r)
	if err != nil {
		return nil, &usageError{err}
	}
	return inventory, nil
}

// deltaLine says what a delta is for and leaves out; "" for a whole bundle.
func deltaLine(m *bundle.Manifest) string {
	omitted := m.Omitted()
	if len(omitted) == 0 {
		return ""
	}
	var names []string
	for _, b := range m.Base {
		names = append(names, b.Name+" "+b.Version)
	}
	return fmt.Sprintf("a delta: for machines with %s, leaves out %d blobs, %s", strings.Join(names, " and "), len(omitted), progress.Bytes(bundle.SizeOf(omitted)))
}
