package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// point is a system call of an install: the one with this number, from 0, of those that its step makes.
type point struct {
	step   int
	number int
}

// count is how many system calls that change files each step of an install makes.
type count []int

// choose spreads total points over the steps so that each has the same share, or all its calls if they are fewer, and over the calls of each step
// evenly, its first and its last among them if there are two.
func (c count) choose(total int) (chosen []point) {
	share := make([]int, len(c))
	for left := total; left > 0; {
		var open []int // steps that have calls left
		for step := range c {
			if share[step] < c[step] {
				open = append(open, step)
			}
		}
		if len(open) == 0 {
			break
		}
		if left < len(open) {
			for i := range left {
				share[open[(i*len(open)+len(open)/2)/left]]++
			}
			break
		}
		given := 0
		for _, step := range open {
			more := min(left/len(open), c[step]-share[step])
			share[step] += more
			given += more
		}
		left -= given
	}
	for step, n := range share {
		for i := range n {
			number := c[step] / 2
			if n > 1 {
				number = i * (c[step] - 1) / (n - 1)
			}
			chosen = append(chosen, point{step, number})
		}
	}
	return chosen
}

// chains orders points such that each chain has at most one of each step, in the order of the steps: one install can be killed at
// all points of a chain, each run going on where the one before was killed.
func chains(all []point) (list [][]point) {
	used := map[int]int{}
	for _, p := range all {
		n := used[p.step]
		used[p.step]++
		if n == len(list) {
			list = append(list, nil)
		}
		list[n] = append(list[n], p)
	}
	return list
}

// console is what an install writes on its standard output, a file, by which it is known at which step it is.
type console struct {
	file  *os.File
	steps []string
}

func newConsole(t *testing.T, steps []string) *console {
	t.Helper()
	file, err := os.Create(filepath.Join(folder, "console"))
	if err != nil {
		t.Fatal(err)
	}
	return &console{file, steps}
}

func (c *console) text() string {
	data, err := os.ReadFile(c.file.Name())
	if err != nil {
		panic(err)
	}
	return string(data)
}

// step is the number, from 0, of the step that runs now: of the one after the last that was told as done. A run that goes on where
// another was killed may have more steps than that had; they count as the one before them.
func (c *console) step() int {
	done := 0
	for line := range strings.Lines(c.text()) {
		var number, of int
		var name string
		if n, _ := fmt.Sscanf(line, "[%d/%d] %s", &number, &of, &name); n == 3 {
			done = max(done, slices.Index(c.steps, strings.TrimSuffix(name, ":"))+1)
		}
	}
	return min(done, len(c.steps)-1)
}

func TestPointsAreSpreadOverSteps(t *testing.T) {
	for _, test := range []struct {
		calls count
		total int
		want  []point
	}{
		{count{5000, 0, 2, 300}, 7, []point{{0, 0}, {0, 4999}, {2, 0}, {2, 1}, {3, 0}, {3, 149}, {3, 299}}},
		{count{1, 1}, 10, []point{{0, 0}, {1, 0}}},
		{count{9, 9, 9, 9}, 2, []point{{1, 4}, {3, 4}}},
	} {
		if got := test.calls.choose(test.total); !slices.Equal(got, test.want) {
			t.Errorf("%d of %v: %v, want %v", test.total, test.calls, got, test.want)
		}
	}
	list := chains([]point{{0, 0}, {0, 5}, {1, 2}, {3, 0}, {3, 1}, {3, 2}})
	if got, want := fmt.Sprint(list), "[[{0 0} {1 2} {3 0}] [{0 5} {3 1}] [{3 2}]]"; got != want {
		t.Errorf("chains %s, want %s", got, want)
	}
}
