package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// series is one figure, measured several times.
type series []float64

// median is the middle value, or the mean of the two in the middle. An empty series has none: NaN.
func (s series) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// mean is the arithmetic mean. An empty series has none: NaN.
func (s series) mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(len(s))
}

// in tells the series as "median (minimum–maximum) unit"; a single value stands alone.
func (s series) in(unit string) string {
	switch len(s) {
	case 0:
		return "–"
	case 1:
		return quantity(s[0], unit)
	}
	text := fmt.Sprintf("%s (%s–%s)", number(s.median()), number(slices.Min(s)), number(slices.Max(s)))
	return strings.TrimSpace(text + " " + unit)
}

// ratios divides two series of the same length value by value.
func ratios(numerators, denominators series) series {
	list := make(series, len(numerators))
	for i := range numerators {
		list[i] = numerators[i] / denominators[i]
	}
	return list
}

// scaled multiplies every value.
func (s series) scaled(by float64) series {
	list := make(series, len(s))
	for i, v := range s {
		list[i] = v * by
	}
	return list
}

// rate is how much of a total was done per unit of each value.
func (s series) rate(total float64) series {
	list := make(series, len(s))
	for i, v := range s {
		list[i] = total / v
	}
	return list
}

// quantity is a number with its unit; an empty unit is a plain number.
func quantity(value float64, unit string) string {
	return strings.TrimSpace(number(value) + " " + unit)
}

// exactly is a quantity with four digits, for what stands close to its limit.
func exactly(value float64, unit string) string { return fmt.Sprintf("%.4g %s", value, unit) }

// number shows three significant digits, and whole numbers above that: 0.0123, 1.23, 12.3, 1234.
func number(value float64) string {
	if value == 0 || math.IsNaN(value) || math.IsInf(value, 0) {
		return fmt.Sprint(value)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(value))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 4), value)
}

// printTable prints a Markdown table on stdout.
func printTable(header []string, rows [][]string) {
	fmt.Println("| " + strings.Join(header, " | ") + " |")
	fmt.Println("|" + strings.Repeat("---|", len(header)))
	for _, row := range rows {
		fmt.Println("| " + strings.Join(row, " | ") + " |")
	}
}
