package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// round is what each contender reached.
type round map[string]figures

// result is what all rounds of a group found.
type result struct {
	group  group
	rounds []round
	quick  bool // its figures say nothing
}

// String lists the figures in the order of their names.
func (f figures) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, fmt.Sprintf("%12s %s", show(f[name]), name))
	}
	return strings.Join(parts, "  ")
}

// show prints a figure with three digits or more.
func show(v float64) string {
	switch {
	case v >= 100:
		text := fmt.Sprintf("%.0f", v)
		for i := len(text) - 3; i > 0; i -= 3 {
			text = text[:i] + "," + text[i:]
		}
		return text
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// median is NaN without values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// values are a figure's values in the rounds that have it.
func (r result) values(of figure) []float64 {
	var out []float64
	for _, round := range r.rounds {
		if v, ok := round[of.contender][of.name]; ok {
			out = append(out, v)
		}
	}
	return out
}

// ratios are those of the rounds' figures.
func (r result) ratios(b bar) []float64 {
	var out []float64
	for _, round := range r.rounds {
		of, ok := round[b.of.contender][b.of.name]
		against, too := round[b.against.contender][b.against.name]
		if ok && too {
			out = append(out, of/against)
		}
	}
	return out
}

// outcome is a bar and what was reached.
type outcome struct {
	bar
	quick                     bool
	ratios                    []float64
	ofMedian, againstMedian   float64
	medianOfRatios, ofMedians float64
}

// outcomes are those of the bars whose contenders were both measured.
func (r result) outcomes() []outcome {
	var out []outcome
	for _, b := range r.group.bars {
		ratios := r.ratios(b)
		if len(ratios) == 0 {
			continue
		}
		o := outcome{bar: b, quick: r.quick, ratios: ratios, medianOfRatios: median(ratios)}
		o.ofMedian, o.againstMedian = median(r.values(b.of)), median(r.values(b.against))
		o.ofMedians = o.ofMedian / o.againstMedian
		out = append(out, o)
	}
	return out
}

// verdict says whether the bar is met, by both ratios.
func (o outcome) verdict() string {
	worst, best := min(o.medianOfRatios, o.ofMedians), max(o.medianOfRatios, o.ofMedians)
	switch {
	case o.least == 0 && o.atMost == 0:
		return "for information"
	case o.quick:
		return "not judged"
	case o.least > 0 && worst >= o.least, o.atMost > 0 && best <= o.atMost:
		return "met"
	}
	return "NOT MET"
}

func (o outcome) want() string {
	switch {
	case o.least > 0:
		return fmt.Sprintf("at least %v", o.least)
	case o.atMost > 0:
		return fmt.Sprintf("at most %v", o.atMost)
	}
	return "–"
}

// print writes the medians and the ratios.
func (r result) print(out io.Writer) {
	for _, c := range r.group.contenders {
		medians := figures{}
		for _, round := range r.rounds {
			for name := range round[c.name] {
				medians[name] = median(r.values(figure{c.name, name}))
			}
		}
		if len(medians) > 0 {
			fmt.Fprintf(out, "   median   %-52s %s\n", c.name, medians)
		}
	}
	for _, o := range r.outcomes() {
		var ratios []string
		for _, v := range o.ratios {
			ratios = append(ratios, show(v))
		}
		fmt.Fprintf(out, "   ratio    %s: rounds %s, their median %s, of the medians %s; wanted %s: %s\n",
			o.title, strings.Join(ratios, " "), show(o.medianOfRatios), show(o.ofMedians), o.want(), o.verdict())
	}
}

// markdown is the table of all bars.
func markdown(all []result, rounds int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| what (medians of %d) | measured | against | median of ratios | ratio of medians | wanted | |\n", rounds)
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range all {
		for _, o := range r.outcomes() {
			fmt.Fprintf(&b, "| %s | %s %s | %s | %s | %s | %s | %s |\n", o.title, show(o.ofMedian), unit(o.of.name), show(o.againstMedian),
				show(o.medianOfRatios), show(o.ofMedians), o.want(), o.verdict())
		}
	}
	return b.String()
}

// unit is the end of a figure's name: "p50 ms" is in ms.
func unit(name string) string { return name[strings.LastIndex(name, " ")+1:] }
