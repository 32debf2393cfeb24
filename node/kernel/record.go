package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airgap/internal/atomicfile"
)

// Record notes in a file what the settings are that [Apply] is about to change, so that [Restore] can put them back. What the file has of an
// earlier start stays: that is how the machine was before it was a node.
func Record(root string, settings []Setting, file string) error {
	before, err := readRecord(file)
	if err != nil {
		return err
	}
	known := len(before)
	for _, s := range settings {
		data, err := os.ReadFile(s.file(root))
		if value := strings.TrimSpace(string(data)); err == nil && value != s.Value && before[s.Name] == "" {
			before[s.Name] = value
		}
	}
	if len(before) == known {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteJSON(file, before, 0o600)
}

// Restore puts back what Record has noted, and returns the names. A setting that somebody has changed since stays; so does one that is gone.
func Restore(root string, settings []Setting, file string) (names []string, err error) {
	before, err := readRecord(file)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(before)) {
		i := slices.IndexFunc(settings, func(s Setting) bool { return s.Name == name })
		if i < 0 {
			continue // of an older version
		}
		path := settings[i].file(root)
		data, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(data)) != settings[i].Value {
			continue
		}
		if err := os.WriteFile(path, []byte(before[name]), 0); err != nil {
			errs = append(errs, fmt.Errorf("kernel setting %s cannot be put back to %s: %w", name, before[name], err))
			continue
		}
		names = append(names, name)
	}
	return names, errors.Join(errs...)
}

func readRecord(file string) (map[string]string, error) {
	before := map[string]string{}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return before, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil {
		return nil, fmt.Errorf("what the kernel's settings were: %w", err)
	}
	return before, nil
}

// file is where the kernel shows the setting.
func (s Setting) file(root string) string {
	return filepath.Join(root, filepath.FromSlash(strings.ReplaceAll(s.Name, ".", "/")))
}
