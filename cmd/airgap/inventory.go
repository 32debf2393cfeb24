package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
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

// readSince reads what a site has: from an inventory, or from the head of a bundle that it has installed. nil for no path.
func readSince(path string, trust bundle.Trust) (*bundle.Inventory, error) {
	if path == "" {
		return nil, nil
	}
	inventory, err := readInventory(path)
	if err == nil && inventory == nil {
		var reader *bundle.Reader
		if reader, err = bundle.Open(path, trust); err == nil {
			defer reader.Close()
			inventory, err = bundle.InventoryOf(reader.Manifest())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--since %s: %w", path, err)
	}
	return inventory, nil
}

// readInventory reads a file that begins as JSON does; nil if it does not, or is a folder.
func readInventory(path string) (*bundle.Inventory, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, &usageError{err}
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Mode()&fs.ModeDir != 0 {
		return nil, err
	}
	r := bufio.NewReader(file)
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
