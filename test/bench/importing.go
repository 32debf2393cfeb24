package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

const (
	// mostImportRatio is what airgap's import may take of ctr's time.
	mostImportRatio = 0.3
	// mostImportWritten is what it may write, for each byte of the disk that the layers take, packed and unpacked.
	mostImportWritten = 1
)

// benchImport runs the benchmark in test/bench/import, one pair of imports a run, with the containerd and
// the ctr of the executable as it was built, each into a disk of its own. AIRGAP_BENCH_DIR keeps its set of images for the
// next time.
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
	cmd := b.command(ctx, "go", "test", "-run=^$", "-bench=Import", "-benchtime=1x", "-timeout=2h", "./test/bench/import")
	// The executable sets a garbage collection of its own for its containerd: 100 is what everybody else's has.
	cmd.Env = append(cmd.Env, "AIRGAP_BENCH_DIR="+folder, "AIRGAP_BENCH_BIN="+binaries, "AIRGAP_BENCH_RUNS="+strconv.Itoa(b.runs), "GOGC=100")
	text, err := output(cmd)
	if err != nil {
		return err
	}
	ours, theirs := readImports(text, "airgap import"), readImports(text, "ctr image import")
	if len(ours.seconds) != b.runs || len(theirs.seconds) != b.runs {
		return fmt.Errorf("go test reported %d and %d imports, want %d of each:\n%s", len(ours.seconds), len(theirs.seconds), b.runs, text)
	}
	if len(writtenRatios(text)) != b.runs {
		return fmt.Errorf("go test did not report what each import wrote:\n%s", text)
	}
	ratio := ratios(ours.seconds, theirs.seconds)
	set, err := os.Stat(filepath.Join(folder, "images.tar"))
	if err != nil {
		return err
	}
	size := float64(set.Size()) / 1e6
	fmt.Printf("The same %s of images into a fresh ext4 with a journal each, unpacked and synced.\n\n", quantity(size, "MB"))
	var rows [][]string
	for _, side := range []struct {
		title string
		imports
	}{{"airgap", ours}, {"`ctr image import`, with its containerd", theirs}} {
		rows = append(rows, []string{side.title, side.seconds.in("s"), side.processor.in("s"),
			side.writtenMB.in("MB"), side.writtenMB.scaled(1 / size).in(""), side.peakMB.in("MB")})
	}
	rows = append(rows, []string{"airgap ÷ ctr", ratio.in("×"), ratios(ours.processor, theirs.processor).in("×"),
		ratios(ours.writtenMB, theirs.writtenMB).in("×"), "", ratios(ours.peakMB, theirs.peakMB).in("×")})
	printTable([]string{"", "Time", "Processor", "Written to disk", "Written per byte of the set", "Peak memory"}, rows)
	b.hold("import ÷ `ctr image import`", ratio.median(), mostImportRatio, "×")
	b.hold("bytes that the import writes ÷ those that packed and unpacked layers take", writtenRatios(text).median(), mostImportWritten, "×")
	return nil
}

// imports is what the benchmark says of one side's imports, in order.
type imports struct{ seconds, processor, writtenMB, peakMB series }

var importLine = regexp.MustCompile(`run \d+ +(airgap import|ctr image import) +([\d.]+) s, ([\d.]+) s of processor, ([\d.]+) MB written, peak ([\d.]+) MB`)

var writtenLine = regexp.MustCompile(`run \d+ +airgap wrote +([\d.]+) MB by itself, for ([\d.]+) MB`)

// writtenRatios reads what each import wrote, divided by what is there afterwards.
func writtenRatios(text string) (all series) {
	for _, match := range writtenLine.FindAllStringSubmatch(text, -1) {
		wrote, err1 := strconv.ParseFloat(match[1], 64)
		kept, err2 := strconv.ParseFloat(match[2], 64)
		if err1 == nil && err2 == nil && kept > 0 {
			all = append(all, wrote/kept)
		}
	}
	return all
}

// readImports reads one side's imports from the log of the benchmark:
//
//	import_test.go:74: run 0  airgap import     22.1 s, 36.7 s of processor, 6322 MB written, peak 35 MB
func readImports(text, side string) (all imports) {
	for _, match := range importLine.FindAllStringSubmatch(text, -1) {
		if match[1] != side {
			continue
		}
		for i, to := range []*series{&all.seconds, &all.processor, &all.writtenMB, &all.peakMB} {
			value, err := strconv.ParseFloat(match[2+i], 64)
			if err != nil {
				return imports{} // the count that is missing tells
			}
			*to = append(*to, value)
		}
	}
	return all
}
