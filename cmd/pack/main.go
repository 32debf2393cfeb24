// Command pack joins the launcher and the tree of a distribution into one self-extracting
// executable. It is a build tool; nothing of it is shipped.
//
//	pack -launcher build/launcher -root build/root -o bin/airgap -zstd "zstd -19 --long=25 -T0"
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"airgap/internal/atomicfile"
	"airgap/internal/payload"
)

func main() {
	launcher := flag.String("launcher", "", "the launcher, a static executable")
	root := flag.String("root", "", "folder whose content is packed")
	output := flag.String("o", "", "the executable to write")
	command := flag.String("zstd", "", "compress with this `command`, stdin to stdout, instead of in Go")
	flag.Parse()
	if *launcher == "" || *root == "" || *output == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	compress := payload.Compressor(payload.Zstd)
	if *command != "" {
		compress = external(strings.Fields(*command))
	}
	if err := pack(*launcher, *root, *output, compress); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(launcher, root, output string, compress payload.Compressor) error {
	in, err := os.Open(launcher)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(output), ".pack.*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) // fails once it has been renamed
	digest, err := payload.Pack(out, in, root, compress)
	if err != nil {
		return err
	}
	if err := out.Chmod(0o755); err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	if err := atomicfile.Commit(out, output); err != nil {
		return err
	}
	fmt.Printf("%s: %.1f MB, sha256 %s\n", output, float64(info.Size())/1e6, digest)
	return nil
}

// external compresses through a command.
func external(command []string) payload.Compressor {
	return func(w io.Writer) (io.WriteCloser, error) {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = w, os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return &process{WriteCloser: in, cmd: cmd}, nil
	}
}

// process is the input of a running command; closing it waits for the command's end.
type process struct {
	io.WriteCloser
	cmd *exec.Cmd
}

func (p *process) Close() error {
	if err := p.WriteCloser.Close(); err != nil {
		return err
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.cmd, err)
	}
	return nil
}
