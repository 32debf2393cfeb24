package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/mod/modfile"

	images "airgap/airgap-images"
)

// moduleFolder returns the folder with the go.mod to compile by: the declaration's own, or, if files
// of its dependencies are replaced, a copy of it in which these dependencies are folders:
//
//	<copy>/go.mod                 with a replace line for each
//	<copy>/replaced/<module>/…    the module, and in it our files in the place of upstream's
//
// The paths in the replace lines are relative, because they end up in the executable.
func (s *source) moduleFolder(ctx context.Context, b *images.GoBuild) (string, error) {
	own := filepath.Join(s.folder, b.Folder)
	if len(b.Replace) == 0 {
		return own, nil
	}
	copied := filepath.Join(s.work, s.image.Name+"-source")
	if _, err := os.Stat(copied); err == nil {
		return copied, nil // made for another program or platform of this image
	}
	if err := os.CopyFS(copied, os.DirFS(own)); err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(own, "go.mod"))
	if err != nil {
		return "", err
	}
	mod, err := modfile.Parse(filepath.Join(own, "go.mod"), data, nil)
	if err != nil {
		return "", err
	}
	for _, module := range slices.Sorted(maps.Keys(b.Replace)) {
		relative := path.Join("replaced", module)
		if err := s.copyModule(ctx, mod, module, filepath.Join(copied, relative)); err != nil {
			return "", err
		}
		if err := replaceFiles(filepath.Join(copied, relative), own, b.Replace[module]); err != nil {
			return "", fmt.Errorf("replace in %s: %w", module, err)
		}
		if err := mod.AddReplace(module, "", "./"+relative, ""); err != nil {
			return "", err
		}
	}
	if data, err = mod.Format(); err != nil {
		return "", err
	}
	return copied, os.WriteFile(filepath.Join(copied, "go.mod"), data, 0o644)
}

// copyModule copies a module, in the version that mod requires, out of the module cache.
func (s *source) copyModule(ctx context.Context, mod *modfile.File, module, target string) error {
	i := slices.IndexFunc(mod.Require, func(r *modfile.Require) bool { return r.Mod.Path == module })
	if i < 0 {
		return fmt.Errorf("files of %s are to be replaced, which %s does not require", module, mod.Syntax.Name)
	}
	from, err := s.download(ctx, mod.Require[i].Mod.String())
	if err != nil {
		return err
	}
	return os.CopyFS(target, os.DirFS(from))
}

// replaceFiles puts files of the folder own in the place of those in module; an empty source removes the file. Upstream
// must have each of them: what it has moved would otherwise be linked again without a word.
func replaceFiles(module, own string, files map[string]string) error {
	for name, source := range files {
		target := filepath.Join(module, name)
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("upstream has no file %s", name)
		} else if err != nil {
			return err
		}
		if source == "" {
			if err := os.Remove(target); err != nil {
				return err
			}
			continue
		}
		data, err := os.ReadFile(filepath.Join(own, source))
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// download returns the folder in the module cache of a module@version, downloading it if need be.
func (s *source) download(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = s.folder
	out, err := run(cmd)
	if err != nil {
		return "", err
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		return "", fmt.Errorf("go mod download -json %s: %w", module, err)
	}
	return downloaded.Dir, nil
}
