package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mostPolicyChange is how many milliseconds a pod or a policy more may take among 1,000 policies and 250 pods.
const mostPolicyChange = 100

// benchPolicy runs the benchmarks of node/network/policy, with the nft that the executable carries.
func benchPolicy(ctx context.Context, b *bench) error {
	cmd := b.command(ctx, "go", "test", "-run=^$", "-bench=^Benchmark(Large|Packets)$", "-count="+strconv.Itoa(b.runs), "-timeout=30m", "./node/network/policy")
	cmd.Env = append(cmd.Env, "PATH="+b.built("build/root/bin")+":"+os.Getenv("PATH"))
	text, err := output(cmd)
	if err != nil {
		return err
	}
	all := readBenchmarks(text)
	load, pod, policy := all["Large/Load"], all["Large/Pod"], all["Large/Policy"]
	if len(load["ns/op"]) == 0 || len(pod["ms/change"]) == 0 || len(policy["ms/change"]) == 0 {
		return fmt.Errorf("go test reported no figures:\n%s", text)
	}
	fmt.Print("1,000 policies, five of which select each of 250 pods of one node; every pod has an address of each family.\n\n")
	printTable([]string{"", "Time", "Operations of nft"}, [][]string{
		{"load of everything, in one transaction", load["ns/op"].scaled(1e-6).in("ms"), load["operations"].in("")},
		{"… of which computing the table", load["ms-computing"].in("ms"), ""},
		{"a pod comes or goes", pod["ms/change"].in("ms"), pod["operations"].in("")},
		{"a policy's ports change", policy["ms/change"].in("ms"), policy["operations"].in("")},
	})
	fmt.Printf("\nThe agent keeps %s for it. What it costs packets between two pods of the node:\n\n", load["MB-heap"].in("MB"))
	var rows [][]string
	for _, side := range []struct{ title, name string }{
		{"no policy in the cluster", "unpoliced"},
		{"the 1,000 policies, none of which selects the two", "beside"},
		{"and five that isolate one of them, the last of which allows it", "isolated"},
	} {
		rows = append(rows, []string{
			side.title, all["Packets/RoundTrip"]["µs-"+side.name].in("µs"), all["Packets/Stream"]["MB/s-"+side.name].in("MB/s"),
		})
	}
	printTable([]string{"", "UDP round trip", "TCP through an echo"}, rows)
	b.hold("a pod among 1,000 policies", pod["ms/change"].median(), mostPolicyChange, "ms")
	b.hold("a policy among 1,000", policy["ms/change"].median(), mostPolicyChange, "ms")
	return nil
}

// readBenchmarks reads the lines of `go test -bench`, and returns each benchmark's series by unit:
//
//	BenchmarkLarge/Pod-2   45   34077752 ns/op   17.04 ms/change   8.000 operations
func readBenchmarks(text string) map[string]map[string]series {
	all := map[string]map[string]series{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
			name = name[:i]
		}
		if all[name] == nil {
			all[name] = map[string]series{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				all[name][fields[i+1]] = append(all[name][fields[i+1]], value)
			}
		}
	}
	return all
}
