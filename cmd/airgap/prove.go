package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/bundle/source"
	"airgap/installer"
	"airgap/internal/sandbox"
	"airgap/signing"
)

// proveFlags are the flags of build that make it try out what it has built.
type proveFlags struct {
	wanted          bool
	timeout, settle time.Duration
}

func (f *proveFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.wanted, "prove", false, "start the bundle here, as root, on a machine of its own with no way out, and fail if a pod lacks an image or is not Ready")
	cmd.Flags().DurationVar(&f.timeout, "prove-timeout", installer.DefaultTimeout, "how long --prove waits for the node, for the releases, and again for all pods")
	cmd.Flags().DurationVar(&f.settle, "prove-settle", installer.DefaultSettle, "for how long all must be Ready, and no new pod appear, until --prove believes it")
}

// check says before the build what would keep the proof from being made after it.
func (f *proveFlags) check(since string, spec *source.Spec, instead []string) error {
	if !f.wanted {
		return nil
	}
	if since != "" {
		if inventory, err := inventoryFile(since); err == nil && inventory != nil || !media.IsPath(since) {
			return &usageError{fmt.Errorf("--prove installs what the delta is made on first: --since %s must be that bundle, in a file or folder here", since)}
		}
	}
	platforms, err := spec.Platforms(instead)
	if err != nil {
		return err
	}
	if here := "linux/" + runtime.GOARCH; !slices.Contains(platforms, here) {
		return withHint(&usageError{fmt.Errorf("--prove starts the bundle on this machine, which is %s; it is for %s", here, strings.Join(platforms, ", "))},
			"build with --prove on a machine of one of those platforms, or add --platform %s", here)
	}
	if os.Geteuid() != 0 {
		return withHint(&preflightError{errors.New("--prove starts a node, which root alone may")}, "run it with sudo -E, or build without --prove and prove elsewhere")
	}
	return nil
}

// privilegesHint is what to do where root may not all that root may.
const privilegesHint = "in a container, give it all privileges (--privileged); or prove on the machine itself"

// proofFolders is where proofs keep their machines, on a disk and not in memory; proofPrefix begins their names.
const (
	proofFolders = "/var/tmp"
	proofPrefix  = "airgap-proof-"
)

// proofOrder is what the first process of a proof's machine is told, on standard input.
type proofOrder struct {
	Folder  string        `json:"folder"`
	Remove  bool          `json:"remove"` // the node, and do nothing else
	Bundles []string      `json:"bundles"`
	Keys    []string      `json:"keys"` // PEM
	Timeout time.Duration `json:"timeout"`
	Settle  time.Duration `json:"settle"`
	Output  string        `json:"output"` // format of the report: steps are told where that is not
}

// proofResult is what it answers, on file descriptor 3.
type proofResult struct {
	Proof *installer.Proof `json:"proof"`
	Error string           `json:"error"`
	Code  int              `json:"code"` // of an error: an exit code
	Hint  string           `json:"hint"`
}

// proofFailure is an error that another process of ours has had.
type proofFailure struct{ proofResult }

func (f *proofFailure) Error() string { return f.proofResult.Error }

// prove starts what was built: the bundle at path, after those that it needs, on a machine that is taken down whatever happens.
func (e *env) prove(ctx context.Context, o buildOptions, m *bundle.Manifest, keys []*signing.PrivateKey) (*installer.Proof, error) {
	trusted, err := trustedKeys(o, keys)
	if err != nil {
		return nil, err
	}
	bundles, err := e.proofBundles(o, m)
	if err != nil {
		return nil, err
	}
	if err := sweepProofs(proofFolders, func(folder string) error { return e.removeProof(ctx, folder) }); err != nil {
		return nil, err
	}
	folder, lock, err := newProofFolder(proofFolders)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	order := proofOrder{Folder: folder, Bundles: bundles, Timeout: o.prove.timeout, Settle: o.prove.settle, Output: o.output}
	for _, key := range trusted {
		order.Keys = append(order.Keys, string(key.PEM()))
	}
	proof, err := e.runProof(ctx, order)
	return proof, errors.Join(err, e.removeProof(context.WithoutCancel(ctx), folder))
}

// proofBundles are the bundles to install, the last of them the one that was built: before a delta what it is a delta of, before all if
// there is no distribution the system's.
func (e *env) proofBundles(o buildOptions, m *bundle.Manifest) ([]string, error) {
	built := o.bundle
	if o.split != "" {
		built = bundle.PartName(built, 1)
	}
	bundles := []string{built}
	if o.since != "" {
		bundles = []string{o.since, built}
	}
	if len(m.Distributions) == 0 {
		system, err := e.systemBundle()
		if err != nil {
			return nil, fmt.Errorf("--prove: the bundle has no distribution to start it with: %w", err)
		}
		bundles = append([]string{system}, bundles...)
	}
	for i, path := range bundles {
		var err error
		if bundles[i], err = filepath.Abs(path); err != nil {
			return nil, err
		}
	}
	return bundles, nil
}

// runProof runs this program as the first process of a new machine.
func (e *env) runProof(ctx context.Context, order proofOrder) (*installer.Proof, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	told, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	answers, answer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer answers.Close()
	cmd := sandbox.Command(ctx, self, "prove-bundle")
	path, _ := e.getenv("PATH")
	cmd.Env = []string{"PATH=" + path} // the node is to be as on a machine that is not this one
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(string(told)), e.stdout, e.stderr
	cmd.ExtraFiles = []*os.File{answer}
	came := make(chan []byte, 1)
	go func() {
		data, _ := io.ReadAll(answers)
		came <- data
	}()
	ended := sandbox.Run(cmd)
	_ = answer.Close()
	data := <-came
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(ended, sandbox.ErrUnavailable) {
		return nil, withHint(&preflightError{ended}, privilegesHint)
	}
	var result proofResult
	if json.Unmarshal(data, &result) != nil {
		return nil, fmt.Errorf("the proof ended without an answer: %w", errors.Join(ended, errors.New("its machine is gone")))
	}
	if result.Error != "" {
		return nil, withHint(&proofFailure{result}, "%s", result.Hint)
	}
	return result.Proof, nil
}

// removeProof takes down what the machine of a proof has left when its processes are gone: control groups, settings of the kernel, files.
func (e *env) removeProof(ctx context.Context, folder string) error {
	_, err := e.runProof(ctx, proofOrder{Folder: folder, Remove: true, Output: outputJSON})
	if errors.Is(err, sandbox.ErrUnavailable) { // and was so before: nothing ran there
		err = nil
	}
	if err := errors.Join(err, os.RemoveAll(folder)); err != nil {
		return fmt.Errorf("something of the proof is left: %w", err)
	}
	return nil
}

// newProofFolder makes a folder for a proof in dir, and holds it until lock is closed.
func newProofFolder(dir string) (folder string, lock *os.File, err error) {
	for {
		if folder, err = os.MkdirTemp(dir, proofPrefix); err != nil {
			return "", nil, err
		}
		lock, err = lockProof(folder)
		if !errors.Is(err, errProofTaken) {
			break
		}
		// Another build sweeps, and met the folder before it was held: it removes it.
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(folder))
	}
	return folder, lock, nil
}

// errProofTaken says that another process holds the folder of a proof, or has removed it.
var errProofTaken = errors.New("another process has it")

// lockProof holds the folder of a proof for as long as this process lives, or until lock is closed.
func lockProof(folder string) (lock *os.File, err error) {
	lock, err = os.Open(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errProofTaken
	}
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && !isAt(lock, folder) || errors.Is(err, unix.EWOULDBLOCK) {
		err = errProofTaken
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", folder, err), lock.Close())
	}
	return lock, nil
}

// isAt reports whether the open file is what a path still leads to.
func isAt(open *os.File, path string) bool {
	is, err := open.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(is, there)
}

// sweepProofs takes down what proofs have left in dir whose process was killed.
func sweepProofs(dir string, remove func(folder string) error) error {
	folders, err := filepath.Glob(filepath.Join(dir, proofPrefix+"*"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		lock, err := lockProof(folder)
		if errors.Is(err, errProofTaken) {
			continue
		}
		if err == nil {
			err = errors.Join(remove(folder), lock.Close())
		}
		if err != nil {
			return fmt.Errorf("%s, of a proof that was killed: %w", folder, err)
		}
	}
	return nil
}

// notStarted are the images of a bundle that no pod was started from. The system's own, of which pods are made by what they are asked for, do not count.
func notStarted(m *bundle.Manifest, proof *installer.Proof) []string {
	started := map[string]bool{}
	for _, image := range proof.Images {
		if r, err := source.Normalize(image); err == nil {
			started[r.Tagged()], started[r.String()], started[r.Digest] = true, true, true
		}
	}
	var missing []string
	for _, image := range m.Images {
		if !image.System && !started[image.Reference] && !started[image.Digest] {
			missing = append(missing, image.Reference)
		}
	}
	return missing
}
