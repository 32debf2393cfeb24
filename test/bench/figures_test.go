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

func TestBenchmarkMetrics(t *testing.T) {
	const text = `goos: linux
BenchmarkImport-2   	       1	9123456789 ns/op	         0.2164 airgap/ctr	         8.900 airgap-s
BenchmarkImportant-2	       1	1 ns/op	         7 airgap/ctr
BenchmarkImport-2   	       1	9023456789 ns/op	         0.2200 airgap/ctr	         9.100 airgap-s
--- BENCH: BenchmarkImport-2
    import_test.go:84: run 0  airgap import     8.9 s
PASS
`
	got := benchmarkMetrics(text, "BenchmarkImport")
	if !slices.Equal(got["airgap/ctr"], series{0.2164, 0.22}) || !slices.Equal(got["airgap-s"], series{8.9, 9.1}) {
		t.Errorf("got %v", got)
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
