package importbench

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"airgap/registry"
)

// measure is what one import took.
type measure struct {
	seconds   float64
	cpu       float64 // seconds of all processes that took part, which a busy machine distorts less
	writtenMB float64 // that reached the disk
	peakMB    float64 // resident memory of all processes that took part
	ownMB     float64 // of airgap: what its process handed to the kernel to write; what a filesystem adds of its own is left out
	keptMB    float64 // of airgap: what the layers, packed and unpacked, take of the disk
}

func (m measure) String() string {
	return fmt.Sprintf("%.1f s, %.1f s of processor, %.0f MB written, peak %.0f MB", m.seconds, m.cpu, m.writtenMB, m.peakMB)
}

// TestMain is also the importing process, when the benchmark starts it as one.
func TestMain(m *testing.M) {
	if root := os.Getenv("AIRGAP_BENCH_IMPORT_INTO"); root != "" {
		err := importLayout(root, os.Getenv("AIRGAP_BENCH_IMPORT_FROM"))
		if err == nil {
			err = sayWritten(os.Stdout)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func BenchmarkImport(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("importing images needs root")
	}
	folder := os.Getenv("AIRGAP_BENCH_DIR")
	if folder == "" {
		folder = filepath.Join(os.TempDir(), "airgap-bench-import")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		b.Fatal(err)
	}
	runs := 3
	if n, err := strconv.Atoi(os.Getenv("AIRGAP_BENCH_RUNS")); err == nil {
		runs = n
	}
	binaries := findBinaries(b, folder)
	set := makeSet(b, folder)
	for b.Loop() {
		var ours, theirs []measure
		for run := range runs {
			m := benchOurs(b, folder, set, binaries)
			b.Logf("run %d  airgap import     %v", run, m)
			b.Logf("run %d  airgap wrote      %.0f MB by itself, for %.0f MB of layers, packed and unpacked", run, m.ownMB, m.keptMB)
			ours = append(ours, m)
			if os.Getenv("AIRGAP_BENCH_ALONE") != "" {
				continue
			}
			m = benchCtr(b, folder, set, binaries)
			b.Logf("run %d  ctr image import  %v", run, m)
			theirs = append(theirs, m)
		}
		report(b, "airgap", ours)
		if len(theirs) > 0 {
			report(b, "ctr", theirs)
			b.ReportMetric(median(ours, seconds)/median(theirs, seconds), "airgap/ctr")
		}
	}
}

func seconds(m measure) float64 { return m.seconds }
func cpu(m measure) float64     { return m.cpu }
func written(m measure) float64 { return m.writtenMB }
func peak(m measure) float64    { return m.peakMB }

func report(b *testing.B, side string, all []measure) {
	b.ReportMetric(median(all, seconds), side+"-s")
	b.ReportMetric(median(all, cpu), side+"-cpu-s")
	b.ReportMetric(median(all, written), side+"-written-MB")
	b.ReportMetric(median(all, peak), side+"-peak-MB")
}

func median(all []measure, of func(measure) float64) float64 {
	var values []float64
	for _, m := range all {
		values = append(values, of(m))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// warm empties the page cache and reads the set into it, so that both sides begin alike.
func warm(b *testing.B, set string) {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		b.Logf("page cache not dropped: %v", err)
	}
	file, err := os.Open(set)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if _, err := io.Copy(struct{ io.Writer }{io.Discard}, file); err != nil {
		b.Fatal(err)
	}
}

// timed runs work and a final sync of folder's filesystem.
func timed(b *testing.B, folder string, work func() error) measure {
	before := sectorsWritten(b, folder)
	start := time.Now()
	if err := work(); err != nil {
		b.Fatal(err)
	}
	dir, err := os.Open(folder)
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		b.Fatal(err)
	}
	return measure{seconds: time.Since(start).Seconds(), writtenMB: float64(sectorsWritten(b, folder)-before) * 512 / 1e6}
}

// sectorsWritten counts the 512-byte sectors written to folder's block device since the machine started.
func sectorsWritten(b *testing.B, folder string) int64 {
	var stat unix.Stat_t
	if err := unix.Stat(folder, &stat); err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return 0 // not a block device
	}
	n, _ := strconv.ParseInt(strings.Fields(string(data))[6], 10, 64)
	return n
}

func benchOurs(b *testing.B, folder, set string, binaries string) measure {
	d := newDisk(b, folder)
	defer d.remove(b)
	root := d.root
	warm(b, set)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "AIRGAP_BENCH_IMPORT_INTO="+root, "AIRGAP_BENCH_IMPORT_FROM="+set)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, os.Stderr
	m := timed(b, root, command.Run)
	m.peakMB = peakOf(command.ProcessState)
	m.cpu = cpuOf(command.ProcessState)
	written, err := strconv.ParseFloat(strings.TrimSpace(said.String()), 64)
	if err != nil {
		b.Fatalf("the importing process did not say what it wrote: %v", err)
	}
	const blockBytes = 512 // stat(2)
	m.ownMB, m.keptMB = written/1e6, float64(blocksOf(b, root))*blockBytes/1e6
	checkWithContainerd(b, folder, root, binaries)
	return m
}

// blocksOf counts the blocks that the files under root take.
func blocksOf(b *testing.B, root string) (blocks int64) {
	err := filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			blocks += info.Sys().(*syscall.Stat_t).Blocks
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return blocks
}

// sayWritten prints how many bytes this process has handed to the kernel to write: wchar in proc_pid_io(5). What getrusage(2) counts has also what
// a filesystem without a journal makes dirty for itself, half a page for an inode on one that is fragmented.
func sayWritten(w io.Writer) error {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if count, found := strings.CutPrefix(line, "wchar: "); found {
			_, err := fmt.Fprint(w, count)
			return err
		}
	}
	return errors.New("/proc/self/io has no wchar")
}

func cpuOf(state *os.ProcessState) float64 {
	return (state.UserTime() + state.SystemTime()).Seconds()
}

func peakOf(state *os.ProcessState) float64 {
	return float64(state.SysUsage().(*syscall.Rusage).Maxrss) * 1024 / 1e6
}

// importLayout is airgap's side: one pass over the tar, hashing as a bundle's reader does.
func importLayout(root, set string) (err error) {
	if path := os.Getenv("AIRGAP_BENCH_PROFILE"); path != "" {
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	file, err := os.Open(set)
	if err != nil {
		return err
	}
	defer file.Close()
	store, err := registry.OpenStore(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ctx := context.Background()
	var work *registry.Import
	r := tar.NewReader(file)
	for {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch hex, isBlob := strings.CutPrefix(header.Name, "blobs/sha256/"); {
		case isBlob:
			if err := work.Blob(ctx, "sha256:"+hex, header.Size, newVerifier(r, hex)); err != nil {
				return err
			}
		case header.Name == "index.json":
			options := registry.ImportOptions{Lease: "bench"}
			if options.Images, err = imagesOf(r); err != nil {
				return err
			}
			if work, err = store.Import(ctx, options); err != nil {
				return err
			}
			defer work.Close()
		}
	}
	return work.Commit(ctx)
}

func imagesOf(r io.Reader) ([]registry.ImportImage, error) {
	var index ocispec.Index
	if err := json.NewDecoder(r).Decode(&index); err != nil {
		return nil, err
	}
	var list []registry.ImportImage
	for _, m := range index.Manifests {
		list = append(list, registry.ImportImage{
			Names:  []string{m.Annotations["io.containerd.image.name"]},
			Target: m,
			Labels: map[string]string{registry.LabelPinned: registry.Pinned},
		})
	}
	return list, nil
}

// verifier checks the digest of what is read through it, as bundle's reader does.
type verifier struct {
	r    io.Reader
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	want string
}

func newVerifier(r io.Reader, want string) io.Reader { return &verifier{r, sha256.New(), want} }

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(v.hash.Sum(nil)) != v.want {
		err = errors.New("digest mismatch")
	}
	return n, err
}
