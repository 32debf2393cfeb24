package main

import (
	"math"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		name   string
		values series
		want   float64
	}{
		{"one", series{3}, 3},
		{"odd, unsorted", series{9, 1, 4}, 4},
		{"even", series{4, 1, 2, 9}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.values.median(); got != test.want {
				t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
			}
		})
	}
	if got := (series{}).median(); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
	values := series{9, 1, 4}
	values.median()
	if !slices.Equal(values, series{9, 1, 4}) {
		t.Errorf("median put its values in the order %v", values)
	}
}

// A limit with a figure that was never measured must not count as held.
func TestLimit(t *testing.T) {
	for _, test := range []struct {
		measured float64
		exceeded bool
	}{{99, false}, {100, false}, {100.1, true}, {math.NaN(), true}, {math.Inf(1), true}} {
		if got := (limit{most: 100, measured: test.measured}).exceeded(); got != test.exceeded {
			t.Errorf("%v of at most 100: exceeded is %t", test.measured, got)
		}
	}
}

func TestSeriesAsText(t *testing.T) {
	for _, test := range []struct {
		values series
		unit   string
		want   string
	}{
		{nil, "s", "–"},
		{series{1.2345}, "s", "1.23 s"},
		{series{2, 0.5, 1}, "s", "1.00 (0.500–2.00) s"},
		{series{1234.5, 99.96, 1e6}, "", "1234 (100.0–1000000)"},
	} {
		if got := test.values.in(test.unit); got != test.want {
			t.Errorf("%v: %q, want %q", test.values, got, test.want)
		}
	}
}

func TestRatiosArePairByPair(t *testing.T) {
	if got := ratios(series{1, 6}, series{2, 3}); !slices.Equal(got, series{0.5, 2}) {
		t.Errorf("got %v", got)
	}
}

func TestReadImports(t *testing.T) {
	const text = `BenchmarkImport-2   	time="2026-11-22T17:21:18Z" level=warning msg="failed check for fsverity support"
       1	99735028301 ns/op	        58.20 airgap-cpu-s	         0.3928 airgap/ctr
--- BENCH: BenchmarkImport-2
    import_test.go:74: run 0  airgap import     22.1 s, 36.7 s of processor, 6322 MB written, peak 35 MB
    import_test.go:80: run 0  ctr image import  56.2 s, 90.0 s of processor, 6348 MB written, peak 363 MB
    import_test.go:74: run 1  airgap import     23.5 s, 37 s of processor, 6300 MB written, peak 34 MB
`
	ours, theirs := readImports(text, "airgap import"), readImports(text, "ctr image import")
	if !slices.Equal(ours.seconds, series{22.1, 23.5}) || !slices.Equal(ours.peakMB, series{35, 34}) || !slices.Equal(ours.writtenMB, series{6322, 6300}) {
		t.Errorf("ours: %+v", ours)
	}
	if !slices.Equal(theirs.seconds, series{56.2}) || !slices.Equal(theirs.processor, series{90}) {
		t.Errorf("theirs: %+v", theirs)
	}
}

func TestReadBenchmarks(t *testing.T) {
	all := readBenchmarks(`goos: linux
BenchmarkLarge/Pod-2   45   34077752 ns/op   17.04 ms/change   8.000 operations
BenchmarkLarge/Pod-2   44   34077753 ns/op   18.50 ms/change   8.000 operations
PASS
ok  	airgap/node/network/policy	12.966s`)
	pod := all["Large/Pod"]
	if len(all) != 1 || !slices.Equal(pod["ms/change"], series{17.04, 18.5}) || len(pod["ns/op"]) != 2 || len(pod["operations"]) != 2 {
		t.Errorf("%v", all)
	}
}

func TestStepLine(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"[ 3/12] import: 4 images, 126 MB (0.2 s)", "import"},
		{"[12/12] commit (0.0 s)", "commit"},
		{"[ 3/12] import: 52 MB of 126 MB (41 %), 104 MB/s", ""},
		{"warning: cgroups: version 1 (2.0 s)", ""},
	} {
		var got string
		if match := stepLine.FindStringSubmatch(test.line); match != nil {
			got = match[1]
		}
		if got != test.want {
			t.Errorf("%q: step %q, want %q", test.line, got, test.want)
		}
	}
}

func TestLinesArePassedOnWhole(t *testing.T) {
	var got []string
	w := lines{each: func(line string) { got = append(got, line) }}
	for _, part := range []string{"one\ntw", "o", "\n\nrest"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []string{"one", "two", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
