package corefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
)

// Trial is the first argument of the program when it is to try the Corefile on its standard
// input, with the path in the second.
const Trial = "try-corefile"

// trialTimeout bounds a trial. Setting plugins up takes milliseconds.
const trialTimeout = 20 * time.Second

// directive is the name under which the end of a trial is part of its Corefile.
const directive = "end-of-trial"

var errEnd = errors.New("end of trial")

// InOwnProcess tries a Corefile with the program at executable, whose main calls [RunTrial].
func InOwnProcess(executable string) func(path string, corefile []byte) error {
	return func(path string, corefile []byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), trialTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, executable, Trial, path)
		cmd.Stdin = bytes.NewReader(corefile)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			if text := strings.TrimSpace(stderr.String()); text != "" {
				return errors.New(text)
			}
			return fmt.Errorf("trial of the Corefile: %w", err)
		}
		return nil
	}
}

// RunTrial starts CoreDNS with a Corefile up to the point at which it would listen, and ends
// with exit code 0 if it gets there; if not, standard error says why.
func RunTrial(path string, corefile io.Reader) {
	text, err := io.ReadAll(corefile)
	if err == nil {
		err = try(path, text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// try must be called once in a process. What ends the start is the first thing that is called when all plugins are set
// up and all servers made.
func try(path string, text []byte) error {
	dnsserver.Directives = append([]string{directive}, dnsserver.Directives...)
	plugin.Register(directive, func(c *caddy.Controller) error {
		c.OnFirstStartup(func() error { return errEnd })
		return nil
	})
	text = append(bytes.Clone(text), "\n"+directive+".invalid {\n"+directive+"\n}\n"...)
	_, err := caddy.Start(caddy.CaddyfileInput{Contents: text, Filepath: path, ServerTypeName: "dns"})
	if errors.Is(err, errEnd) {
		return nil
	}
	if err == nil {
		return errors.New("CoreDNS started during a trial")
	}
	return err
}
