package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

const (
	// mostReadRatio is how many times as long as http.FileServer's a read from the registry may take: 0.7 of its speed.
	mostReadRatio = 1 / 0.7
	// mostCopies is how often the first machine may give each byte of a bundle to fifty others.
	mostCopies = 3
	// readsPerRun is how many pairs of reads each run has: one takes a tenth of a second.
	readsPerRun = 10
)

var (
	readLine  = regexp.MustCompile(`: (plain|TLS): registry ([\d.]+) s, http.FileServer ([\d.]+) s, (\d+) bytes`)
	swarmLine = regexp.MustCompile(`: swarm: (.*): ([\d.]+) s, ([\d.]+) copies`)
	slowLine  = regexp.MustCompile(`: slow links, (.*): ([\d.]+) times as long as the seeder sends it once, ([\d.]+) copies`)
)

// benchRegistry runs the benchmarks of registry/distribution and registry/peer, on loopback and without a node.
func benchRegistry(ctx context.Context, b *bench) error {
	say("registry: %d pairs of reads", b.runs*readsPerRun)
	text, err := b.goBench(ctx, "./registry/distribution", "Read", b.runs*readsPerRun)
	if err != nil {
		return err
	}
	fmt.Printf("One client reads one blob from the page cache over loopback; `http.FileServer` serves the same file with the same TLS, or none, on both sides.\n\n")
	if err := b.printReads(text); err != nil {
		return err
	}
	say("registry: %d times fifty machines that join at once", b.runs)
	if text, err = b.goBench(ctx, "./registry/peer", "Swarm|SlowLinks", b.runs); err != nil {
		return err
	}
	return b.printSwarms(text)
}

// goBench runs one package's benchmarks and returns what they log.
func (b *bench) goBench(ctx context.Context, pkg, pattern string, times int) (string, error) {
	return output(b.command(ctx, "go", "test", "-run=^$", "-bench="+pattern, fmt.Sprintf("-benchtime=%dx", times), "-v", "-timeout=2h", pkg))
}

func (b *bench) printReads(text string) error {
	var rows [][]string
	for _, transport := range []string{"plain", "TLS"} {
		var ours, theirs series
		size := 0.0
		for _, match := range readLine.FindAllStringSubmatch(text, -1) {
			if match[1] == transport {
				ours, theirs = append(ours, parsed(match[2])), append(theirs, parsed(match[3]))
				size = parsed(match[4]) / 1e6
			}
		}
		if len(ours) == 0 {
			return fmt.Errorf("no reads with %s were reported:\n%s", transport, text)
		}
		ratio := ratios(ours, theirs)
		rows = append(rows, []string{transport, ours.rate(size).in(""), theirs.rate(size).in(""), ratio.in("×")})
		b.hold("read from the registry ÷ `http.FileServer`, "+transport, ratio.median(), mostReadRatio, "×")
	}
	printTable([]string{"", "registry, MB/s", "`http.FileServer`, MB/s", "Time, registry ÷ `http.FileServer`"}, rows)
	return nil
}

func (b *bench) printSwarms(text string) error {
	var rows [][]string
	var copies series
	for _, match := range swarmLine.FindAllStringSubmatch(text, -1) {
		copies = append(copies, parsed(match[3]))
		rows = append(rows, []string{match[1], quantity(parsed(match[2]), "s"), quantity(parsed(match[3]), "")})
	}
	if len(copies) == 0 {
		return fmt.Errorf("no swarm was reported:\n%s", text)
	}
	fmt.Printf("\nFifty machines take a bundle at once over mutual TLS; handlers, tracker and fetchers are those of a node, all in one process of this machine. Two peers are hostile.\n\n")
	printTable([]string{"", "Until the last has everything", "Copies that the first machine gave"}, rows)
	b.hold("copies that the first machine gives to 50", copies.median(), mostCopies, "×")
	fmt.Printf("\nThe same on links that are the bottleneck, in multiples of the time in which one machine can send the bundle once. A seeder alone would need 50.\n\n")
	rows = nil
	for _, match := range slowLine.FindAllStringSubmatch(text, -1) {
		rows = append(rows, []string{match[1], quantity(parsed(match[2]), "×"), quantity(parsed(match[3]), "")})
	}
	printTable([]string{"Bundle", "Until the last has everything", "Copies"}, rows)
	return nil
}

// parsed is a number that a regular expression has matched.
func parsed(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return value
}
