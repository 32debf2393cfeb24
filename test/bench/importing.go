package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mostImportRatio is what airgap's import may take of ctr's time.
const mostImportRatio = 0.5

// benchImport runs the benchmark in test/bench/import, one pair of imports a run, with the containerd and
// the ctr of the executable as it was built. AIRGAP_BENCH_DIR keeps its set of images for the next time.
func benchImport(ctx context.Context, b *bench) error {
	folder := os.Getenv("AIRGAP_BENCH_DIR")
	if folder == "" {
		folder = filepath.Join(b.work, "import")
	}
	binaries := filepath.Join(b.work, "containerd")
	if err := os.MkdirAll(binaries, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"containerd", "ctr"} {
		if err := os.Symlink(b.built("build/root/bin/airgap"), filepath.Join(binaries, name)); err != nil {
			return err
		}
	}
	say("import: making a set of images, then %d pairs of imports", b.runs)
	cmd := b.command(ctx, "go", "test", "-run=^$", "-bench=Import", "-benchtime=1x", "-count="+strconv.Itoa(b.runs), "-timeout=2h", "./test/bench/import")
	// The executable sets a garbage collection of its own for its containerd: 100 is what everybody else's has.
	cmd.Env = append(cmd.Env, "AIRGAP_BENCH_DIR="+folder, "AIRGAP_BENCH_BIN="+binaries, "AIRGAP_BENCH_RUNS=1", "GOGC=100")
	text, err := output(cmd)
	if err != nil {
		return err
	}
	metrics := benchmarkMetrics(text, "BenchmarkImport")
	ratio := metrics["airgap/ctr"]
	if len(ratio) != b.runs {
		return fmt.Errorf("go test reported %d pairs, want %d:\n%s", len(ratio), b.runs, text)
	}
	set, err := os.Stat(filepath.Join(folder, "images.tar"))
	if err != nil {
		return err
	}
	size := float64(set.Size()) / 1e6
	fmt.Printf("The same %s of images into a fresh root each, unpacked and synced.\n\n", quantity(size, "MB"))
	var rows [][]string
	for _, side := range []struct{ key, title string }{{"airgap", "airgap"}, {"ctr", "`ctr image import`, with its containerd"}} {
		written := metrics[side.key+"-written-MB"]
		rows = append(rows, []string{side.title, metrics[side.key+"-s"].in("s"), metrics[side.key+"-cpu-s"].in("s"),
			written.in("MB"), written.scaled(1 / size).in(""), metrics[side.key+"-peak-MB"].in("MB")})
	}
	rows = append(rows, []string{"airgap ÷ ctr", ratio.in("×"), ratios(metrics["airgap-cpu-s"], metrics["ctr-cpu-s"]).in("×"),
		ratios(metrics["airgap-written-MB"], metrics["ctr-written-MB"]).in("×"), "", ratios(metrics["airgap-peak-MB"], metrics["ctr-peak-MB"]).in("×")})
	printTable([]string{"", "Time", "Processor", "Written to disk", "Written per byte of the set", "Peak memory"}, rows)
	b.hold("import ÷ `ctr image import`", ratio.median(), mostImportRatio, "×")
	return nil
}

// benchmarkMetrics reads the metrics of every line of a benchmark, by unit, from the output of go test:
//
//	BenchmarkImport-2   1   9123456789 ns/op   8.9 airgap-s   41.2 ctr-s
func benchmarkMetrics(text, name string) map[string]series {
	metrics := map[string]series{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != name && !strings.HasPrefix(fields[0], name+"-") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 { // after the name and the number of iterations
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				metrics[fields[i+1]] = append(metrics[fields[i+1]], value)
			}
		}
	}
	return metrics
}
