package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle/source"
)

var _ = register(newInitCommand)

// starter is an airgap.yaml that builds as it is, with an example of everything else in comments.
//
//go:embed starter.yaml
var starter string

func newInitCommand(e *env) *cobra.Command {
	var file, name string
	var force bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented airgap.yaml to start from",
		Long: `Write a commented airgap.yaml to start from. It builds as it is, a bundle of Kubernetes alone; what else can be in it
stands there as comments. The bundle is called as the folder is, unless --name says otherwise. A file
that is there is left alone without --force.`,
		Example: `  airgap init
  airgap init --name site-a -f sites/a/airgap.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return e.init(file, name, force) },
	}
	cmd.Flags().StringVarP(&file, "file", "f", "airgap.yaml", "`file` to write")
	cmd.Flags().StringVar(&name, "name", "", "`name` of the bundle (default: the folder's)")
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	return cmd
}

func (e *env) init(file, name string, force bool) error {
	if name == "" {
		absolute, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		name = bundleName(filepath.Base(filepath.Dir(absolute)))
	}
	text := strings.NewReplacer("NAME", name, "PLATFORM", "linux/"+runtime.GOARCH).Replace(starter)
	if _, err := source.Parse(file, []byte(text)); err != nil {
		return fmt.Errorf("--name %q: %w", name, err)
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	out, err := os.OpenFile(file, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return withHint(&usageError{fmt.Errorf("%s is there already", file)}, "edit it, or write over it with --force")
	} else if err != nil {
		return err
	}
	_, err = out.WriteString(text)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	p := &printer{w: e.stdout}
	p.line("%s: a bundle called %s; say what it is to carry, then:", file, name)
	p.line("  airgap images -f %s --why", file)
	p.line("  airgap build -f %s -o %s.airgap --key site.key", file, name)
	return p.err
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// bundleName makes a name for a bundle of a folder's: "Site A" is site-a.
func bundleName(folder string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(folder), "-"), "-")
	if len(name) > 63 {
		name = strings.Trim(name[:63], "-")
	}
	if name == "" {
		return "site"
	}
	return name
}
