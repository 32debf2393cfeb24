// Command airgap-images builds the images that a declaration file describes, by default the
// system images, into an OCI image layout. It is a build tool; nothing of it is shipped.
//
//	airgap-images build -o build/images
//	airgap-images build -o build/images --platform linux/amd64,linux/arm64 pause coredns
//	airgap-images build -f test/podinfo/image.yaml -o build/podinfo/image
//	airgap-images list
//	airgap-images unpack --platform linux/arm64 -o build/arm64/debian nftables libseccomp-dev
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	images "airgap/airgap-images"
	"airgap/airgap-images/build"
)

const usage = `Usage: airgap-images build -o LAYOUT [-f FILE] [--platform LIST] [NAME]...
       airgap-images list [-f FILE]
       airgap-images unpack -o FOLDER [--platform PLATFORM] PACKAGE...

Builds the images declared in FILE, or those named, into the OCI image layout LAYOUT.
Or unpacks Debian packages, with all they depend on, into FOLDER.

  -f FILE          the declaration (airgap-images/images.yaml)
  -o LAYOUT        folder to write, replaced as a whole
  --platform LIST  comma-separated (linux/` + runtime.GOARCH + `)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "airgap-images:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("airgap-images", flag.ContinueOnError)
	flags.Usage = func() {}
	declaration := flags.String("f", filepath.Join("airgap-images", "images.yaml"), "")
	output := flags.String("o", "", "")
	platforms := flags.String("platform", "linux/"+runtime.GOARCH, "")
	if err := flags.Parse(args[1:]); err != nil {
		return errUsage
	}
	if args[0] == "unpack" {
		arch, ok := strings.CutPrefix(*platforms, "linux/")
		if !ok || *output == "" || flags.NArg() == 0 {
			return errUsage
		}
		_, err := build.Unpack(ctx, arch, flags.Args(), *output)
		return err
	}
	data, err := os.ReadFile(*declaration)
	if err != nil {
		return err
	}
	set, err := images.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", *declaration, err)
	}
	switch verb := args[0]; {
	case verb == "list" && flags.NArg() == 0:
		return list(set)
	case verb == "build" && *output != "":
		return build.Build(ctx, build.Options{
			Set:       set,
			Names:     flags.Args(),
			Platforms: strings.Split(*platforms, ","),
			Folder:    filepath.Dir(*declaration),
			Output:    *output,
			Log:       func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
		})
	}
	return errUsage
}

func list(set *images.Set) error {
	for _, image := range set.Images {
		reference, err := set.Reference(image.Name)
		if err != nil {
			return err
		}
		fmt.Printf("%-36s %s%s %s, for %s\n", reference, image.Upstream.Module, image.Upstream.Debian,
			image.Upstream.Version, strings.Join(image.Platforms, " and "))
	}
	return nil
}
