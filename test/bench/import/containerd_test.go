package importbench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// findBinaries returns the folder that has containerd and ctr.
func findBinaries(b *testing.B, folder string) string {
	if binaries := os.Getenv("AIRGAP_BENCH_BIN"); binaries != "" {
		return binaries
	}
	binaries := filepath.Join(folder, "bin")
	build := exec.Command("go", "build", "-o", binaries+"/",
		"github.com/containerd/containerd/v2/cmd/containerd", "github.com/containerd/containerd/v2/cmd/ctr")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build containerd: %v\n%s", err, out)
	}
	return binaries
}

// daemon is a containerd that the benchmark has started.
type daemon struct {
	binaries string
	socket   string
	process  *exec.Cmd
	log      string
}

// startContainerd starts containerd on root, and waits until it answers.
func startContainerd(b *testing.B, folder, root, binaries string) *daemon {
	state := filepath.Join(folder, "state")
	if err := os.MkdirAll(state, 0o711); err != nil {
		b.Fatal(err)
	}
	d := &daemon{binaries: binaries, socket: filepath.Join(state, "containerd.sock"), log: filepath.Join(folder, "containerd.log")}
	config := filepath.Join(folder, "containerd.toml")
	text := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\"]\n[grpc]\naddress = %q\n",
		root, state, d.socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(d.log)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	d.process = exec.Command(filepath.Join(binaries, "containerd"), "--config", config)
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.process.Start(); err != nil {
		b.Fatal(err)
	}
	for range 100 {
		if exec.Command(filepath.Join(binaries, "ctr"), "-a", d.socket, "version").Run() == nil {
			return d
		}
		time.Sleep(100 * time.Millisecond)
	}
	d.stop()
	b.Fatalf("containerd does not answer; see %s", d.log)
	return nil
}

// ctr runs ctr in the namespace of the images.
func (d *daemon) ctr(arguments ...string) *exec.Cmd {
	return exec.Command(filepath.Join(d.binaries, "ctr"), append([]string{"-a", d.socket, "-n", "k8s.io"}, arguments...)...)
}

func (d *daemon) stop() {
	d.process.Process.Signal(syscall.SIGTERM)
	d.process.Wait()
}

// cpu is the processor time the daemon has used, in seconds.
func (d *daemon) cpu() float64 {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.process.Process.Pid))
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // from the third on: proc_pid_stat(5)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	const ticksPerSecond = 100
	return (user + system) / ticksPerSecond
}

// peakMB is the largest resident memory the daemon has had.
func (d *daemon) peakMB() float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process.Process.Pid))
	if match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status); match != nil {
		kib, _ := strconv.ParseFloat(string(match[1]), 64)
		return kib * 1024 / 1e6
	}
	return 0
}

func benchCtr(b *testing.B, folder, set, binaries string) measure {
	disk := newDisk(b, folder)
	defer disk.remove(b)
	d := startContainerd(b, folder, disk.root, binaries)
	defer d.stop()
	warm(b, set)
	idle := d.cpu()
	command := d.ctr("images", "import", set)
	m := timed(b, disk.root, func() error {
		out, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("ctr image import: %w\n%s", err, out)
		}
		return nil
	})
	m.peakMB = d.peakMB() + peakOf(command.ProcessState)
	m.cpu = d.cpu() - idle + cpuOf(command.ProcessState)
	checkImages(b, d)
	return m
}

// checkWithContainerd starts a real containerd on what airgap has imported.
func checkWithContainerd(b *testing.B, folder, root, binaries string) {
	d := startContainerd(b, folder, root, binaries)
	defer d.stop()
	checkImages(b, d)
}

// checkImages fails unless ctr finds every image complete and unpacked.
func checkImages(b *testing.B, d *daemon) {
	out, err := d.ctr("images", "check").CombinedOutput()
	if err != nil {
		b.Fatalf("ctr images check: %v\n%s", err, out)
	}
	for n := range images {
		found := false
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if len(fields) > 0 && fields[0] == imageName(n) {
				found = strings.Contains(line, "complete") && !strings.Contains(line, "incomplete") && fields[len(fields)-1] == "true"
			}
		}
		if !found {
			b.Fatalf("%s is not complete and unpacked:\n%s", imageName(n), out)
		}
	}
}
